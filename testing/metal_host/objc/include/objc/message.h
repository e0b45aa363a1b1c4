#ifndef DECANT_TESTING_METAL_HOST_OBJC_MESSAGE_H_
#define DECANT_TESTING_METAL_HOST_OBJC_MESSAGE_H_

#include <objc/runtime.h>

#ifdef __cplusplus
extern "C" {
#endif
// To be called as the method's own type: they jump to it with the arguments as they are.
void objc_msgSend(void);
void objc_msgSend_stret(void);
void objc_msgSend_fpret(void);
#ifdef __cplusplus
}
#endif

#endif  // DECANT_TESTING_METAL_HOST_OBJC_MESSAGE_H_
