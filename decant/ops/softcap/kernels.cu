#include "decant/kernels/rows.cuh"
#include "decant/ops/softcap/params.h"

namespace decant {

extern "C" __global__ void softcap(const SoftcapParams value, const SoftcapParams* in_buffer,
                                   const float* x, float* out) {
  const SoftcapParams params = in_buffer ? *in_buffer : value;
  const uint64_t begin = uint64_t{blockIdx.x} * kSoftcapGroupElements;
  const uint64_t count = std::min<uint64_t>(kSoftcapGroupElements, params.elements - begin);
  for_each_four(count, [&](uint64_t i, uint64_t rest) {
    const float4 v = load_row(x + begin + i, rest);
    store_row(each(v, [&](float e) { return params.cap * tanhf(e / params.cap); }), out + begin + i,
              rest);
  });
}

}  // namespace decant
