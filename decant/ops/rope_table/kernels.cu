#include "decant/kernels/ptx.cuh"
#include "decant/ops/rope_table/rope_table.cuh"

namespace decant {

extern "C" __global__ void rope_table(const RopeTableParams value, const RopeTableParams* in_buffer,
                                      const uint32_t at, const uint32_t* position_buffer,
                                      float* out) {
  const RopeTableParams params = in_buffer ? *in_buffer : value;
  const uint64_t group_tokens = rope_table_group_tokens(params.pairs), pairs = params.pairs;
  const uint64_t begin = blockIdx.x * group_tokens;
  const uint64_t end = std::min<uint64_t>(begin + group_tokens, params.tokens);
  // One power for all tokens of the group; the first before the position is known.
  double frequency = threadIdx.x < pairs ? rope_frequency(params, threadIdx.x) : 0;
  wait_for_previous();
  let_next_start();
  const uint64_t position = position_buffer ? *position_buffer : at;
  for (uint64_t i = threadIdx.x; i < pairs; i += blockDim.x) {
    if (i != threadIdx.x) frequency = rope_frequency(params, i);
    for (uint64_t t = begin; t < end; ++t) {
      float* row = out + t * 2 * pairs;
      store_angle(params, position + t, frequency, row + i, row + pairs + i);
    }
  }
}

}  // namespace decant
