// The tanh approximation of GELU: ops/gelu_mul, and fused into others.
#ifndef DECANT_KERNELS_METAL_GELU_H_
#define DECANT_KERNELS_METAL_GELU_H_

#include <metal_stdlib>

namespace decant {

// 0.5 (1 + tanh(u)) is the logistic function of 2u, which needs one exp and one division.
inline float gelu(float x) {
  const float two_u = 1.5957691216057308f * x * metal::fma(0.044715f * x, x, 1.0f);
  // Below -80 the logistic is 0 in f32, above 80 it is 1. A NaN fails both comparisons.
  if (two_u < -80.0f) return 0;
  return two_u > 80.0f ? x : x / (1.0f + metal::exp(-two_u));
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_GELU_H_
