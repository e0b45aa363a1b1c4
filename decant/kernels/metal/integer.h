// 64-bit integers, in which Metal, without double, computes what f32 is too short for.
#ifndef DECANT_KERNELS_METAL_INTEGER_H_
#define DECANT_KERNELS_METAL_INTEGER_H_

#include <metal_stdlib>

namespace decant {

// The upper 64 bits of the product.
inline ulong multiply_high(ulong a, ulong b) {
  const ulong a_low = a & 0xFFFFFFFFul, a_high = a >> 32, b_low = b & 0xFFFFFFFFul,
              b_high = b >> 32;
  const ulong middle = a_high * b_low + (a_low * b_low >> 32);
  const ulong other = a_low * b_high + (middle & 0xFFFFFFFFul);
  return a_high * b_high + (middle >> 32) + (other >> 32);
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_INTEGER_H_
