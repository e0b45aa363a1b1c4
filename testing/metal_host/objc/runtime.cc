#include <mutex>
#include <set>
#include <vector>

#include "testing/metal_host/objc/foundation.h"
#include "testing/metal_host/objc/object.h"

// Finds the method and jumps to it. All registers that carry arguments stay as they were.
#if defined(__x86_64__)
asm(R"(
.text
.macro metal_host_send name, object, selector
.globl \name
.type \name, @function
\name:
  .cfi_startproc
  pushq %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset %rbp, -16
  movq %rsp, %rbp
  .cfi_def_cfa_register %rbp
  subq $176, %rsp
  movq %rdi, (%rsp)
  movq %rsi, 8(%rsp)
  movq %rdx, 16(%rsp)
  movq %rcx, 24(%rsp)
  movq %r8, 32(%rsp)
  movq %r9, 40(%rsp)
  movups %xmm0, 48(%rsp)
  movups %xmm1, 64(%rsp)
  movups %xmm2, 80(%rsp)
  movups %xmm3, 96(%rsp)
  movups %xmm4, 112(%rsp)
  movups %xmm5, 128(%rsp)
  movups %xmm6, 144(%rsp)
  movups %xmm7, 160(%rsp)
  movq \object, %rax
  movq \selector, %rsi
  movq %rax, %rdi
  call metal_host_find_method
  movq (%rsp), %rdi
  movq 8(%rsp), %rsi
  movq 16(%rsp), %rdx
  movq 24(%rsp), %rcx
  movq 32(%rsp), %r8
  movq 40(%rsp), %r9
  movups 48(%rsp), %xmm0
  movups 64(%rsp), %xmm1
  movups 80(%rsp), %xmm2
  movups 96(%rsp), %xmm3
  movups 112(%rsp), %xmm4
  movups 128(%rsp), %xmm5
  movups 144(%rsp), %xmm6
  movups 160(%rsp), %xmm7
  leave
  .cfi_def_cfa %rsp, 8
  jmp *%rax
  .cfi_endproc
.size \name, . - \name
.endm
metal_host_send objc_msgSend, %rdi, %rsi
metal_host_send objc_msgSend_fpret, %rdi, %rsi
metal_host_send objc_msgSend_stret, %rsi, %rdx
.type metal_host_nil_method, @function
metal_host_nil_method:
  xorl %eax, %eax
  xorl %edx, %edx
  xorps %xmm0, %xmm0
  ret
.size metal_host_nil_method, . - metal_host_nil_method
)");
#else
asm(R"(
.text
.globl objc_msgSend
.type objc_msgSend, %function
objc_msgSend:
  .cfi_startproc
  stp x29, x30, [sp, #-224]!
  .cfi_def_cfa_offset 224
  .cfi_offset x29, -224
  .cfi_offset x30, -216
  stp x0, x1, [sp, #16]
  stp x2, x3, [sp, #32]
  stp x4, x5, [sp, #48]
  stp x6, x7, [sp, #64]
  str x8, [sp, #80]
  stp q0, q1, [sp, #96]
  stp q2, q3, [sp, #128]
  stp q4, q5, [sp, #160]
  stp q6, q7, [sp, #192]
  bl metal_host_find_method
  mov x16, x0
  ldp x0, x1, [sp, #16]
  ldp x2, x3, [sp, #32]
  ldp x4, x5, [sp, #48]
  ldp x6, x7, [sp, #64]
  ldr x8, [sp, #80]
  ldp q0, q1, [sp, #96]
  ldp q2, q3, [sp, #128]
  ldp q4, q5, [sp, #160]
  ldp q6, q7, [sp, #192]
  ldp x29, x30, [sp], #224
  .cfi_def_cfa_offset 0
  br x16
  .cfi_endproc
.size objc_msgSend, . - objc_msgSend
.type metal_host_nil_method, %function
metal_host_nil_method:
  mov x0, #0
  mov x1, #0
  movi v0.2d, #0
  ret
.size metal_host_nil_method, . - metal_host_nil_method
)");
#endif
extern "C" void metal_host_nil_method();

namespace decant::metal_host::objc {
namespace {

struct Registry {
  std::mutex mutex;
  std::set<std::string> selectors;
  std::map<std::string, ClassObject*> classes;
  std::map<std::string, std::atomic<long>> live;
};
Registry& registry() {
  static auto* const instance = new Registry;  // outlives every static
  return *instance;
}

// What autorelease puts off, by scope.
thread_local std::vector<std::vector<Object*>> g_pools;

class AutoreleasePool final : public Object {
 public:
  AutoreleasePool() : Object("NSAutoreleasePool"), depth_(g_pools.size()) {
    g_pools.emplace_back();
  }
  const Methods& methods() const override {
    static const auto* const table = new Methods(&object_methods());
    return *table;
  }

 protected:
  void dispose() override {
    // Pools above this one that nobody drained go with it.
    while (g_pools.size() > depth_) {
      const std::vector<Object*> objects = std::move(g_pools.back());
      g_pools.pop_back();
      for (Object* object : objects) object->release();
    }
  }

 private:
  size_t depth_;
};

}  // namespace

std::atomic<long>& Object::live(const std::string& class_name) {
  const std::lock_guard lock(registry().mutex);
  return registry().live[class_name];
}

void Object::release() {
  const long left = --references_;
  if (left < 0) invalid("{} is released once too often", describe());
  if (left > 0) return;
  --live(class_name_);
  dispose();
}

Object* Object::autorelease() {
  // Without a pool it leaks, as on macOS.
  if (!g_pools.empty()) g_pools.back().push_back(this);
  return this;
}

const Methods& object_methods() {
  static const Methods* const table = [] {
    auto* methods = new Methods;
    methods->add("retain", [](Object* self, SEL) {
      self->retain();
      return self;
    });
    methods->add("release", [](Object* self, SEL) { self->release(); });
    methods->add("drain", [](Object* self, SEL) { self->release(); });
    methods->add("autorelease", [](Object* self, SEL) { return self->autorelease(); });
    methods->add("retainCount",
                 [](Object* self, SEL) { return static_cast<UInteger>(self->references()); });
    methods->add("init", [](Object* self, SEL) { return self; });
    methods->add("hash", [](Object* self, SEL) { return reinterpret_cast<UInteger>(self); });
    methods->add("isEqual:", [](Object* self, SEL, Object* other) { return self == other; });
    methods->add("respondsToSelector:", [](Object* self, SEL, SEL selector) {
      return self->methods().find(reinterpret_cast<const char*>(selector)) != nullptr;
    });
    methods->add(
        "methodSignatureForSelector:", [](Object*, SEL, SEL) -> Object* { return nullptr; });
    for (const char* selector : {"description", "debugDescription"})
      methods->add(selector, [](Object* self, SEL) { return make_string(self->describe()); });
    return methods;
  }();
  return *table;
}

void register_class(const char* name, Methods class_methods) {
  auto* const made = new ClassObject(name, std::move(class_methods));  // takes the lock, too
  const std::lock_guard lock(registry().mutex);
  registry().classes[name] = made;
}

void register_pools() {
  register_class("NSAutoreleasePool",
                 std::move(Methods(&object_methods()).add("alloc", [](Object*, SEL) -> Object* {
                   return new AutoreleasePool;
                 })));
}

}  // namespace decant::metal_host::objc

// --- The C interface.

using decant::metal_host::objc::Object;

// NOLINTBEGIN(readability-identifier-naming): Apple's names
extern "C" {
// Called by objc_msgSend, which C++ exceptions may pass.
void* metal_host_find_method(Object* object, const char* selector) {
  if (object == nullptr) return reinterpret_cast<void*>(&metal_host_nil_method);
  if (object->is_released())
    decant::metal_host::fail(decant::metal_host::FailureKind::kReleased,
                             "message '{}' to a released {}", selector, object->describe());
  void* method = object->methods().find(selector);
  if (method == nullptr)
    decant::metal_host::objc::invalid("{} does not answer '{}' here", object->describe(), selector);
  return method;
}

const char* sel_registerName(const char* name) {
  auto& registry = decant::metal_host::objc::registry();
  const std::lock_guard lock(registry.mutex);
  return registry.selectors.insert(name).first->c_str();
}
const char* sel_getName(const char* selector) { return selector; }

Object* objc_lookUpClass(const char* name) {
  decant::metal_host::objc::register_all_classes();
  auto& registry = decant::metal_host::objc::registry();
  const std::lock_guard lock(registry.mutex);
  const auto found = registry.classes.find(name);
  return found == registry.classes.end() ? nullptr : found->second;
}
Object* objc_getClass(const char* name) { return objc_lookUpClass(name); }
Object* objc_getProtocol(const char*) { return nullptr; }
}
// NOLINTEND(readability-identifier-naming)
