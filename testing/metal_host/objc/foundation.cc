#include "testing/metal_host/objc/foundation.h"

#include <mutex>

namespace decant::metal_host::objc {

String* make_string(std::string text) {
  auto* string = new String(std::move(text));
  string->autorelease();
  return string;
}

void set_error(Error** error, std::string domain, std::string text) {
  if (error == nullptr) return;
  *error = new Error(std::move(domain), std::move(text));
  (*error)->autorelease();
}

const Methods& String::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    methods->add("UTF8String", [](String* self, SEL) { return self->text.c_str(); });
    methods->add("cStringUsingEncoding:",
                 [](String* self, SEL, UInteger) { return self->text.c_str(); });
    methods->add("length", [](String* self, SEL) -> UInteger { return self->text.size(); });
    methods->add("lengthOfBytesUsingEncoding:", [](String* self, SEL, UInteger) -> UInteger {
      return self->text.size();
    });
    methods->add("isEqualToString:",
                 [](String* self, SEL, String* other) { return self->text == text_of(other); });
    methods->add("initWithCString:encoding:", [](String* self, SEL, const char* from, UInteger) {
      self->text = from;
      return self;
    });
    methods->add("initWithString:", [](String* self, SEL, String* other) {
      self->text = text_of(other);
      return self;
    });
    return methods;
  }();
  return *table;
}

const Methods& Error::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    methods->add("localizedDescription", [](Error* self, SEL) { return make_string(self->text); });
    methods->add("localizedFailureReason", [](Error*, SEL) -> String* { return nullptr; });
    methods->add("domain", [](Error* self, SEL) { return make_string(self->domain); });
    methods->add("code", [](Error*, SEL) -> long { return 1; });
    return methods;
  }();
  return *table;
}

const Methods& Array::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&object_methods());
    methods->add("count", [](Array* self, SEL) -> UInteger { return self->items.size(); });
    methods->add("objectAtIndex:", [](Array* self, SEL, UInteger index) {
      if (index >= self->items.size())
        invalid("NSArray: index {} of {} objects", index, self->items.size());
      return self->items[index].get();
    });
    return methods;
  }();
  return *table;
}

void register_foundation() {
  Methods string(&object_methods());
  string.add("alloc", [](Object*, SEL) -> Object* { return new String(""); });
  string.add("string", [](Object*, SEL) -> Object* { return make_string(""); });
  string.add("stringWithString:", [](Object*, SEL, String* text) -> Object* {
    return make_string(text_of(text));
  });
  string.add("stringWithCString:encoding:",
             [](Object*, SEL, const char* text, UInteger) -> Object* { return make_string(text); });
  register_class("NSString", std::move(string));
  Methods array(&object_methods());
  array.add("arrayWithObjects:count:",
            [](Object*, SEL, Object* const* objects, UInteger count) -> Object* {
              auto* made = new Array;
              for (UInteger i = 0; i < count; ++i) made->items.emplace_back(objects[i]);
              return made->autorelease();
            });
  array.add("array", [](Object*, SEL) -> Object* { return (new Array)->autorelease(); });
  register_class("NSArray", std::move(array));
}

void register_all_classes() {
  static std::once_flag once;
  std::call_once(once, [] {
    register_pools();
    register_foundation();
    register_metal();
  });
}

}  // namespace decant::metal_host::objc
