#include "decant/kernels/rows.cuh"
#include "decant/ops/gelu_mul/params.h"

namespace decant {

// 0.5 (1 + tanh(u)) is the logistic function of 2u, which needs one exp and one division.
__device__ float gelu(float x) {
  const float two_u = 1.5957691216057308f * x * fmaf(0.044715f * x, x, 1.0f);
  // Below -80 the logistic is 0 in f32; exp of less would overflow and make NaN of an infinity.
  return two_u < -80.0f ? 0.0f : x / (1.0f + expf(-two_u));
}

extern "C" __global__ void gelu_mul(const GeluMulParams value, const GeluMulParams* in_buffer,
                                    const float* gate, const float* up, float* out) {
  const uint32_t elements = in_buffer ? in_buffer->elements : value.elements;
  const uint64_t begin = uint64_t{blockIdx.x} * kGeluMulGroupElements;
  const uint64_t count = std::min<uint64_t>(kGeluMulGroupElements, elements - begin);
  for_each_four(count, [&](uint64_t i, uint64_t rest) {
    const float4 g = load_row(gate + begin + i, rest), u = load_row(up + begin + i, rest);
    store_row(each(g, gelu) * u, out + begin + i, rest);
  });
}

}  // namespace decant
