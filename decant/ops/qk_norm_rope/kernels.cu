#include "decant/kernels/rows.cuh"
#include "decant/ops/qk_norm_rope/params.h"

namespace decant {

// One head by one warp. The pair i and i + half is read and written by the same lane, so out may be
// x.
template <typename Out>
__device__ void norm_rope_head(const float* x, const float* weight, const float* cos, Out* out,
                               uint32_t head_dim, float eps) {
  const uint32_t half = head_dim / 2;
  const float* sin = cos + half;
  float sum = 0;
  for (uint32_t i = threadIdx.x % 32; i < head_dim; i += 32) sum = fmaf(x[i], x[i], sum);
  sum = warp_total(sum);
  float factor = 1.0f / sqrtf(sum / static_cast<float>(head_dim) + eps);
  // Squares that leave the range of f32.
  if (!(sum >= 1e-30f && sum <= 3e38f)) {
    double exact = 0;
    for (uint32_t i = threadIdx.x % 32; i < head_dim; i += 32)
      exact = fma(double{x[i]}, double{x[i]}, exact);
    factor = static_cast<float>(1 / sqrt(warp_total(exact) / head_dim + double{eps}));
  }
  for (uint32_t i = threadIdx.x % 32; i < half; i += 32) {
    const float low = x[i] * factor * weight[i], high = x[half + i] * factor * weight[half + i];
    narrow(fmaf(-high, sin[i], low * cos[i]), out[i]);
    narrow(fmaf(low, sin[i], high * cos[i]), out[half + i]);
  }
}

template <typename Out>
__device__ void norm_rope(const QkNormRopeParams& params, const float* x, const float* weight,
                          const float* rope, Out* out) {
  const uint64_t head_dim = params.head_dim;
  const uint64_t group_rows = qk_norm_rope_group_rows(params.head_dim);
  const uint64_t begin = blockIdx.x * group_rows;
  const uint64_t end = std::min<uint64_t>(begin + group_rows, params.rows);
  for (uint64_t row = begin + threadIdx.x / 32; row < end; row += blockDim.x / 32) {
    const uint64_t token = row / params.num_heads;
    norm_rope_head(x + row * head_dim, weight, rope + token * head_dim, out + row * head_dim,
                   params.head_dim, params.eps);
  }
}

extern "C" __global__ void qk_norm_rope_f32(const QkNormRopeParams value,
                                            const QkNormRopeParams* in_buffer, const float* x,
                                            const float* weight, const float* rope, float* out) {
  norm_rope(in_buffer ? *in_buffer : value, x, weight, rope, out);
}
extern "C" __global__ void qk_norm_rope_f16(const QkNormRopeParams value,
                                            const QkNormRopeParams* in_buffer, const float* x,
                                            const float* weight, const float* rope, F16* out) {
  norm_rope(in_buffer ? *in_buffer : value, x, weight, rope, out);
}

}  // namespace decant
