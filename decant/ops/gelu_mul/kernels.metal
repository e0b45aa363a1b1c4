// Translation of cpu.cc.
#include <metal_stdlib>

#include "decant/kernels/metal/gelu.h"
#include "decant/ops/gelu_mul/params.h"

using namespace metal;
using namespace decant;

kernel void gelu_mul_f32(constant GeluMulParams& params [[buffer(0)]],
                         device const float* gate [[buffer(1)]],
                         device const float* up [[buffer(2)]], device float* out [[buffer(3)]],
                         uint group [[threadgroup_position_in_grid]],
                         uint thread_index [[thread_index_in_threadgroup]],
                         uint threads [[threads_per_threadgroup]]) {
  const uint begin = group * kGeluMulGroupElements;
  const uint n = min(uint(kGeluMulGroupElements), params.elements - begin);
  for (uint i = thread_index; i < n; i += threads)
    out[begin + i] = gelu(gate[begin + i]) * up[begin + i];
}
