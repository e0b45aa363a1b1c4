#include "decant/kernels/rows.cuh"
#include "decant/ops/rms_norm/params.h"

// A block normalises a row, which it reads twice; the second time it comes from the first-level
// cache. Every step rounds once, with no fused multiply-add between steps, so that kernels of
// several steps give the bits of the single ones.

namespace decant {

// out = x * inv * weight
__device__ void scale_row(const float* x, float inv, const float* weight, float* out,
                          uint32_t row_elems) {
  for_each_four(row_elems, [&](uint64_t i, uint64_t count) {
    store_row(load_row(x + i, count) * inv * load_row(weight + i, count), out + i, count);
  });
}

// residual += x * inv * weight
__device__ void add_scaled_row(const float* x, float inv, const float* weight, float* residual,
                               uint32_t row_elems) {
  for_each_four(row_elems, [&](uint64_t i, uint64_t count) {
    const float4 normed = load_row(x + i, count) * inv * load_row(weight + i, count);
    store_row(load_row(residual + i, count) + normed, residual + i, count);
  });
}

extern "C" __global__ void rms_norm(const RmsNormParams value, const RmsNormParams* in_buffer,
                                    const float* x, float* out) {
  const RmsNormParams params = in_buffer ? *in_buffer : value;
  const uint32_t n = params.row_elems;
  const uint64_t at = uint64_t{blockIdx.x} * n;
  const float inv = inverse_rms(x + at, n, params.eps);
  for_each_four(n, [&](uint64_t i, uint64_t count) {
    store_row(load_row(x + at + i, count) * inv, out + at + i, count);
  });
}

extern "C" __global__ void rms_norm_weight(const RmsNormParams value,
                                           const RmsNormParams* in_buffer, const float* x,
                                           const float* weight, float* out) {
  const RmsNormParams params = in_buffer ? *in_buffer : value;
  const uint32_t n = params.row_elems;
  const uint64_t at = uint64_t{blockIdx.x} * n;
  scale_row(x + at, inverse_rms(x + at, n, params.eps), weight, out + at, n);
}

extern "C" __global__ void rms_norm_add(const RmsNormParams value, const RmsNormParams* in_buffer,
                                        const float* x, const float* weight, float* residual) {
  const RmsNormParams params = in_buffer ? *in_buffer : value;
  const uint32_t n = params.row_elems;
  const uint64_t at = uint64_t{blockIdx.x} * n;
  add_scaled_row(x + at, inverse_rms(x + at, n, params.eps), weight, residual + at, n);
}

// A thread reads again only what it wrote itself.
extern "C" __global__ void rms_norm_add_norm(const RmsNormParams value,
                                             const RmsNormParams* in_buffer, const float* x,
                                             const float* weight, float* residual,
                                             const float* next_weight, float* out) {
  const RmsNormParams params = in_buffer ? *in_buffer : value;
  const uint32_t n = params.row_elems;
  const uint64_t at = uint64_t{blockIdx.x} * n;
  add_scaled_row(x + at, inverse_rms(x + at, n, params.eps), weight, residual + at, n);
  scale_row(residual + at, inverse_rms(residual + at, n, params.next_eps), next_weight, out + at,
            n);
}

extern "C" __global__ void add_rms_norm(const RmsNormParams value, const RmsNormParams* in_buffer,
                                        const float* a, const float* b, float* sum,
                                        const float* weight, float* out) {
  const RmsNormParams params = in_buffer ? *in_buffer : value;
  const uint32_t n = params.row_elems;
  const uint64_t at = uint64_t{blockIdx.x} * n;
  for_each_four(n, [&](uint64_t i, uint64_t count) {
    store_row(load_row(a + at + i, count) + load_row(b + at + i, count), sum + at + i, count);
  });
  scale_row(sum + at, inverse_rms(sum + at, n, params.eps), weight, out + at, n);
}

}  // namespace decant
