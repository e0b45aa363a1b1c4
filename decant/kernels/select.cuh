// The greatest of many values, as keys of select.h, by one block of kSelectThreads threads:
// select-inl.h for CUDA. Compiled at run time, so no standard headers.
#ifndef DECANT_KERNELS_SELECT_CUH_
#define DECANT_KERNELS_SELECT_CUH_

#include "decant/kernels/rows.cuh"
#include "decant/kernels/select.h"

namespace decant {

inline constexpr uint32_t kSelectThreads = 1024;
// The largest k that select_top_k serves, and the keys that it needs room for with at most
// kSelectChunk to choose from.
inline constexpr uint32_t kSelectMaxK = 256;
inline constexpr uint32_t kSelectRoom = kSelectMaxK * (kSelectChunk / kSelectThreads);

__device__ inline uint64_t block_max(uint64_t key) {
  __shared__ uint64_t warps[32];
  const uint32_t lane = threadIdx.x % 32;
  for (uint32_t mask = 16; mask > 0; mask /= 2)
    key = std::max<uint64_t>(key, __shfl_xor_sync(~0u, key, mask));
  __syncthreads();  // the last call's readers
  if (lane == 0) warps[threadIdx.x / 32] = key;
  __syncthreads();
  key = lane < blockDim.x / 32 ? warps[lane] : 0;
  for (uint32_t mask = 16; mask > 0; mask /= 2)
    key = std::max<uint64_t>(key, __shfl_xor_sync(~0u, key, mask));
  return key;
}

// The greatest key of x[0, n); x[i] has index first + i. All threads get it.
__device__ inline uint64_t select_best(const float* x, uint64_t n, uint64_t first) {
  uint64_t best = 0;
  // A chunk is four turns; the loads of two are under way together.
#pragma unroll 2
  for (uint64_t i = threadIdx.x * 4; i < n; i += blockDim.x * 4) {
    const float4 v = load_row(x + i, n - i);
    const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (uint32_t j = 0; j < 4; ++j)
      if (i + j < n)
        best = std::max(best, order_key(values[j], static_cast<uint32_t>(first + i + j)));
  }
  return block_max(best);
}

// Sorts n keys in shared or global memory, the greatest first. A bitonic network whose comparisons
// all point the same way, so that places behind n, were they there and least, would stay as they
// are.
__device__ inline void sort_descending(uint64_t* keys, uint32_t n) {
  const auto order = [&](uint32_t a, uint32_t b) {
    if (b >= n) return;
    const uint64_t x = keys[a], y = keys[b];
    if (x >= y) return;
    keys[a] = y;
    keys[b] = x;
  };
  uint32_t pairs = 1;  // of the padded array
  while (2 * pairs < n) pairs *= 2;
  __syncthreads();
  for (uint32_t size = 2; size <= 2 * pairs; size *= 2) {
    const uint32_t half = size / 2;
    for (uint32_t p = threadIdx.x; p < pairs; p += blockDim.x) {
      const uint32_t begin = p / half * size, i = p % half;
      order(begin + i, begin + size - 1 - i);
    }
    __syncthreads();
    for (uint32_t stride = half / 2; stride > 0; stride /= 2) {
      for (uint32_t p = threadIdx.x; p < pairs; p += blockDim.x) {
        const uint32_t a = p / stride * 2 * stride + p % stride;
        order(a, a + stride);
      }
      __syncthreads();
    }
  }
}

// Appends keys to an array in no particular order; `count` is shared.
__device__ inline void append_key(uint64_t key, uint64_t* to, uint32_t* count) {
  to[atomicAdd(count, 1u)] = key;
}

// Finds the k greatest of n keys, key_of(i) != 0, and leaves them in room[0, k), sorted, the
// greatest first. Returns how many there are: k or all. k <= kSelectMaxK. `room`, in shared memory,
// has `room_keys` places of at least kSelectThreads; 0 is returned if they are too few, which takes
// more than kSelectChunk keys.
//
// The k-th greatest of the threads' maxima is a floor: k keys are not below it. Those that are not
// lie in at most k threads.
template <typename KeyOf>
__device__ uint32_t select_top_k(uint64_t n, uint32_t k, uint64_t* room, uint32_t room_keys,
                                 const KeyOf& key_of) {
  __shared__ uint32_t count;
  uint64_t best = 0;
  for (uint64_t i = threadIdx.x; i < n; i += blockDim.x) best = std::max<uint64_t>(best, key_of(i));
  __syncthreads();
  room[threadIdx.x] = best;
  if (threadIdx.x == 0) count = 0;
  sort_descending(room, blockDim.x);
  const uint64_t floor = std::max<uint64_t>(room[k - 1], 1);
  __syncthreads();
  for (uint64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const uint64_t key = key_of(i);
    if (key < floor) continue;
    const uint32_t at = atomicAdd(&count, 1u);
    if (at < room_keys) room[at] = key;
  }
  __syncthreads();
  const uint32_t found = count;
  if (found > room_keys) return 0;
  sort_descending(room, found);
  return std::min(found, k);
}

}  // namespace decant

#endif  // DECANT_KERNELS_SELECT_CUH_
