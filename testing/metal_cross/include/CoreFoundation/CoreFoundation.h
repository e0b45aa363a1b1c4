// What metal-cpp takes from Apple's SDK and no cross compiler ships.
#ifndef DECANT_TESTING_METAL_CROSS_COREFOUNDATION_H_
#define DECANT_TESTING_METAL_CROSS_COREFOUNDATION_H_

#include <stdbool.h>
#include <stdint.h>

typedef double CFTimeInterval;
typedef double CGFloat;
struct CGSize {
  CGFloat width, height;
};
typedef struct CGSize CGSize;
typedef struct CGColorSpace* CGColorSpaceRef;

#endif  // DECANT_TESTING_METAL_CROSS_COREFOUNDATION_H_
