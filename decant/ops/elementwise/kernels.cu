#include "decant/kernels/rows.cuh"
#include "decant/ops/elementwise/params.h"

namespace decant {

// out = op(a, b), b repeating.
template <typename Op>
__device__ void combine(const ElementwiseParams& params, const float* a, const float* b, float* out,
                        const Op& op) {
  const uint64_t begin = uint64_t{blockIdx.x} * kElementwiseGroupElements;
  const uint64_t count = std::min<uint64_t>(kElementwiseGroupElements, params.elements - begin);
  for_each_four(count, [&](uint64_t i, uint64_t rest) {
    const uint64_t at = begin + i;
    const float4 x = load_row(a + at, rest);
    float4 y;
    if (params.b_elements == params.elements) {
      y = load_row(b + at, rest);
    } else {
      const uint32_t n = params.b_elements;
      y = {b[at % n], b[(at + 1) % n], b[(at + 2) % n], b[(at + 3) % n]};
    }
    store_row(op(x, y), out + at, rest);
  });
}

extern "C" __global__ void add(const ElementwiseParams value, const ElementwiseParams* in_buffer,
                               const float* a, const float* b, float* out) {
  combine(in_buffer ? *in_buffer : value, a, b, out, [](float4 x, float4 y) { return x + y; });
}

extern "C" __global__ void mul(const ElementwiseParams value, const ElementwiseParams* in_buffer,
                               const float* a, const float* b, float* out) {
  combine(in_buffer ? *in_buffer : value, a, b, out, [](float4 x, float4 y) { return x * y; });
}

}  // namespace decant
