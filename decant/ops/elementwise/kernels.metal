// Translation of cpu.cc.
#include <metal_stdlib>

#include "decant/ops/elementwise/params.h"

using namespace metal;
using namespace decant;

struct Add {
  static float apply(float a, float b) { return a + b; }
};
struct Mul {
  static float apply(float a, float b) { return a * b; }
};

// out[i] = op(a[i], b[i % b_elements]) for the group's part.
template <class Op>
static void each_element(constant ElementwiseParams& params, device const float* a,
                         device const float* b, device float* out, uint group, uint thread_index,
                         uint threads) {
  const uint begin = group * kElementwiseGroupElements;
  const uint n = min(uint(kElementwiseGroupElements), params.elements - begin);
  for (uint i = thread_index; i < n; i += threads)
    out[begin + i] = Op::apply(a[begin + i], b[(begin + i) % params.b_elements]);
}

kernel void add_f32(constant ElementwiseParams& params [[buffer(0)]],
                    device const float* a [[buffer(1)]], device const float* b [[buffer(2)]],
                    device float* out [[buffer(3)]], uint group [[threadgroup_position_in_grid]],
                    uint thread_index [[thread_index_in_threadgroup]],
                    uint threads [[threads_per_threadgroup]]) {
  each_element<Add>(params, a, b, out, group, thread_index, threads);
}

kernel void mul_f32(constant ElementwiseParams& params [[buffer(0)]],
                    device const float* a [[buffer(1)]], device const float* b [[buffer(2)]],
                    device float* out [[buffer(3)]], uint group [[threadgroup_position_in_grid]],
                    uint thread_index [[thread_index_in_threadgroup]],
                    uint threads [[threads_per_threadgroup]]) {
  each_element<Mul>(params, a, b, out, group, thread_index, threads);
}
