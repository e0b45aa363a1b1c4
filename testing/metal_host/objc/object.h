// Objects that answer Objective-C messages, and the runtime that finds their methods.
//
// metal-cpp calls objc_msgSend(object, selector, arguments...) as if it had the method's own type.
// Here a method is a plain C++ function of that type, found by the selector's name in the table of
// the object's class.
#ifndef DECANT_TESTING_METAL_HOST_OBJC_OBJECT_H_
#define DECANT_TESTING_METAL_HOST_OBJC_OBJECT_H_

#include <atomic>
#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "testing/metal_host/failure.h"

struct objc_selector;
using SEL = objc_selector*;

namespace decant::metal_host::objc {

using UInteger = unsigned long;

// Methods of one class, by selector.
class Methods {
 public:
  Methods() = default;
  explicit Methods(const Methods* base) : base_(base) {}
  // `method` has the type R(Self*, SEL, arguments...). One that returns a struct of more than 16
  // bytes on x86-64 has the type void(R*, Self*, SEL, ...), as metal-cpp calls objc_msgSend_stret.
  template <typename F>
  Methods& add(const char* selector, F method) {
    methods_[selector] = reinterpret_cast<void*>(+method);
    return *this;
  }
  void* find(std::string_view selector) const {
    const auto found = methods_.find(selector);
    if (found != methods_.end()) return found->second;
    return base_ == nullptr ? nullptr : base_->find(selector);
  }

 private:
  const Methods* base_ = nullptr;
  std::map<std::string_view, void*> methods_;
};

// Born with a count of one. At zero dispose() lets go of what it holds; the shell stays, so that a
// message to a released object is an error that names it, not a crash.
class Object {
 public:
  explicit Object(const char* class_name) : class_name_(class_name) { ++live(class_name); }
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual const Methods& methods() const = 0;
  virtual std::string describe() const { return class_name_; }

  void retain() { ++references_; }
  virtual void release();
  Object* autorelease();
  long references() const { return references_; }
  bool is_released() const { return references_ <= 0; }
  const char* class_name() const { return class_name_; }

  // How many objects of a class are alive.
  static std::atomic<long>& live(const std::string& class_name);

 protected:
  virtual ~Object() = default;
  virtual void dispose() {}

 private:
  const char* class_name_;
  std::atomic<long> references_{1};
};

// retain, release and the like; the base of every class's methods.
const Methods& object_methods();

// A class, for [Class alloc] and other messages to classes.
class ClassObject final : public Object {
 public:
  explicit ClassObject(const char* name, Methods methods)
      : Object("Class"), name_(name), methods_(std::move(methods)) {}
  const Methods& methods() const override { return methods_; }
  std::string describe() const override { return name_; }
  void release() override {}

 private:
  std::string name_;
  Methods methods_;
};
// Puts a class where objc_lookUpClass finds it.
void register_class(const char* name, Methods class_methods);

// A counted reference.
template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) {
    if (object_ != nullptr) object_->retain();
  }
  Ref(const Ref& other) : Ref(other.object_) {}
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr) object_->release();
  }
  static Ref adopt(T* object) {
    Ref ref;
    ref.object_ = object;
    return ref;
  }
  T* get() const { return object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

// What Metal's API validation refuses.
template <typename... Args>
[[noreturn]] void invalid(fmt::format_string<Args...> format, Args&&... args) {
  fail(FailureKind::kValidation, format, std::forward<Args>(args)...);
}

}  // namespace decant::metal_host::objc

#endif  // DECANT_TESTING_METAL_HOST_OBJC_OBJECT_H_
