#include "decant/kernels/select.cuh"
#include "decant/ops/top_k/params.h"

namespace decant {

// One block: the candidates of one chunk.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    top_k_chunk(const TopKParams value, const TopKParams* in_buffer, const float* x,
                uint64_t* keys) {
  static_assert(kTopKSelectMax <= kSelectMaxK);
  __shared__ uint64_t room[kSelectRoom];
  const TopKParams params = in_buffer ? *in_buffer : value;
  const uint32_t begin = blockIdx.x * kSelectChunk;
  const uint32_t n = std::min(kSelectChunk, params.elements - begin);
  keys += uint64_t{blockIdx.x} * params.candidates;
  const auto key_of = [&](uint64_t i) {
    return order_key(x[begin + i], begin + static_cast<uint32_t>(i));
  };
  uint32_t count = n;
  if (params.k <= kTopKSelectMax) {
    count = select_top_k(n, params.k, room, kSelectRoom, key_of);
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) keys[i] = room[i];
  } else {
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) keys[i] = key_of(i);
  }
  for (uint32_t i = count + threadIdx.x; i < params.candidates; i += blockDim.x) keys[i] = 0;
}

// One block does it all: k is small, or the caller wants much to be sorted.
extern "C" __global__ void __launch_bounds__(kSelectThreads)
    top_k_merge(const TopKParams value, const TopKParams* in_buffer, const float* x, uint64_t* keys,
                float* values, int32_t* ids) {
  __shared__ uint64_t room[kSelectRoom];
  const TopKParams params = in_buffer ? *in_buffer : value;
  const uint64_t n = uint64_t{select_chunks(params.elements)} * params.candidates;
  const uint64_t* best = room;
  if (params.k > kTopKSelectMax ||
      select_top_k(n, params.k, room, kSelectRoom, [&](uint64_t i) { return keys[i]; }) == 0) {
    sort_descending(keys, static_cast<uint32_t>(n));
    best = keys;
  }
  for (uint32_t i = threadIdx.x; i < params.k; i += blockDim.x) {
    const uint32_t index = key_index(best[i]);
    values[i] = x[index];
    ids[i] = static_cast<int32_t>(index);
  }
}

}  // namespace decant
