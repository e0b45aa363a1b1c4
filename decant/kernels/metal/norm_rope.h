// The norm and rotation of one head by one simdgroup: ops/qk_norm_rope, and fused into others.
#ifndef DECANT_KERNELS_METAL_NORM_ROPE_H_
#define DECANT_KERNELS_METAL_NORM_ROPE_H_

#include <metal_stdlib>

#include "decant/kernels/metal/reduce.h"

namespace decant {

// out = rope(norm(x) * weight) * factor, where out points to floats or halfs, in device or
// threadgroup memory. A lane reads its pairs i and i + half before it writes either, so out may be
// x; for the norm it reads elements of other lanes' pairs, and a simd operation is no barrier.
template <class Out>
void norm_rope_head(device const float* x, device const float* weight, device const float* cos,
                    Out out, uint head_dim, float eps, float factor, uint lane) {
  const uint half_dim = head_dim / 2;
  device const float* sin = cos + half_dim;
  const float inv = inverse_rms(Simdgroup{lane}, x, head_dim, eps);
  metal::simdgroup_barrier(metal::mem_flags::mem_device);
  for (uint i = lane; i < half_dim; i += 32) {
    const float low = x[i] * inv * weight[i];
    const float high = x[half_dim + i] * inv * weight[half_dim + i];
    out[i] = metal::fma(-high, sin[i], low * cos[i]) * factor;
    out[half_dim + i] = metal::fma(low, sin[i], high * cos[i]) * factor;
  }
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_NORM_ROPE_H_
