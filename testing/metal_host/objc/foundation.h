// NSString, NSError, NSArray: as much of Foundation as Metal's interface hands out.
#ifndef DECANT_TESTING_METAL_HOST_OBJC_FOUNDATION_H_
#define DECANT_TESTING_METAL_HOST_OBJC_FOUNDATION_H_

#include <string>
#include <vector>

#include "testing/metal_host/objc/object.h"

namespace decant::metal_host::objc {

class String final : public Object {
 public:
  explicit String(std::string string) : Object("NSString"), text(std::move(string)) {}
  const Methods& methods() const override;
  std::string describe() const override { return text; }
  std::string text;
};
// Autoreleased, as what methods return without "new" in their name.
String* make_string(std::string text);
inline std::string text_of(const String* string) { return string == nullptr ? "" : string->text; }

class Error final : public Object {
 public:
  Error(std::string domain_name, std::string message)
      : Object("NSError"), domain(std::move(domain_name)), text(std::move(message)) {}
  const Methods& methods() const override;
  std::string describe() const override { return text; }
  std::string domain, text;
};
// Sets *error, if there is one, to an autoreleased error.
void set_error(Error** error, std::string domain, std::string text);

class Array final : public Object {
 public:
  Array() : Object("NSArray") {}
  const Methods& methods() const override;
  std::vector<Ref<Object>> items;

 protected:
  void dispose() override { items.clear(); }
};

void register_pools();
void register_foundation();
void register_metal();
// Once, before the first class is looked up.
void register_all_classes();

}  // namespace decant::metal_host::objc

#endif  // DECANT_TESTING_METAL_HOST_OBJC_FOUNDATION_H_
