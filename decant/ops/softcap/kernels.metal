// Translation of cpu.cc.
#include <metal_stdlib>

#include "decant/ops/softcap/params.h"

using namespace metal;
using namespace decant;

kernel void softcap_f32(constant SoftcapParams& params [[buffer(0)]],
                        device const float* x [[buffer(1)]], device float* out [[buffer(2)]],
                        uint group [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]],
                        uint threads [[threads_per_threadgroup]]) {
  const uint begin = group * kSoftcapGroupElements;
  const uint n = min(uint(kSoftcapGroupElements), params.elements - begin);
  for (uint i = thread_index; i < n; i += threads) {
    // Beyond 10, tanh is 1 in f32; the clamp keeps exponentials inside it finite.
    const float v = x[begin + i];
    const float capped = params.cap * tanh(clamp(v / params.cap, -10.0f, 10.0f));
    out[begin + i] = v == v ? capped : v;
  }
}
