#include "decant/kernels/ptx.cuh"
#include "decant/ops/embed/embed.cuh"

namespace decant {

extern "C" __global__ void embed(const EmbedParams value, const EmbedParams* in_buffer,
                                 const Block* table, const int32_t* ids, float* out) {
  __shared__ float decoded[kEmbedPart];
  const EmbedParams p = in_buffer ? *in_buffer : value;
  wait_for_previous();
  let_next_start();
  const uint64_t begin = uint64_t{blockIdx.x} * kEmbedGroupTokens;
  const uint64_t end = std::min<uint64_t>(begin + kEmbedGroupTokens, p.tokens);
  for (uint64_t token = begin; token < end; ++token)
    embed_row<kEmbedThreads>(p, table, ids[token], out + token * p.hidden, decoded,
                             [] { __syncthreads(); });
}

}  // namespace decant
