// The part of the Objective-C runtime's interface that metal-cpp calls; objc/runtime.cc answers.
#ifndef DECANT_TESTING_METAL_HOST_OBJC_RUNTIME_H_
#define DECANT_TESTING_METAL_HOST_OBJC_RUNTIME_H_

struct objc_object;
struct objc_selector;
typedef struct objc_object* id;
typedef struct objc_selector* SEL;
typedef struct objc_object* Class;
typedef struct objc_object Protocol;

#ifdef __cplusplus
extern "C" {
#endif
SEL sel_registerName(const char* name);
const char* sel_getName(SEL selector);
id objc_lookUpClass(const char* name);
id objc_getClass(const char* name);
Protocol* objc_getProtocol(const char* name);
#ifdef __cplusplus
}
// metal-cpp's objects derive from it.
struct objc_object {
  objc_object() = delete;
};
#endif

#endif  // DECANT_TESTING_METAL_HOST_OBJC_RUNTIME_H_
