// What metal-cpp's headers name of Apple's SDK, for building them on Linux.
#ifndef DECANT_TESTING_METAL_HOST_COREFOUNDATION_H_
#define DECANT_TESTING_METAL_HOST_COREFOUNDATION_H_

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef double CFTimeInterval;
typedef double CGFloat;
typedef struct CGSize {
  CGFloat width, height;
} CGSize;
typedef struct CGColorSpace* CGColorSpaceRef;

#endif  // DECANT_TESTING_METAL_HOST_COREFOUNDATION_H_
