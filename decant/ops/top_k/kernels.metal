// Translation of cpu.cc.
#include <metal_stdlib>

#include "decant/kernels/metal/select.h"
#include "decant/ops/top_k/params.h"

using namespace metal;
using namespace decant;

// One threadgroup: the candidates of one chunk.
kernel void top_k_chunk_f32(constant TopKParams& params [[buffer(0)]],
                            device const float* x [[buffer(1)]], device ulong* keys [[buffer(2)]],
                            uint group [[threadgroup_position_in_grid]],
                            uint thread_index [[thread_index_in_threadgroup]],
                            uint threads [[threads_per_threadgroup]]) {
  threadgroup atomic_uint counts[257];
  const uint begin = group * kSelectChunk;
  const uint n = min(uint(kSelectChunk), params.elements - begin);
  device ulong* to = keys + ulong(group) * params.candidates;
  uint count = n;
  if (params.k <= kTopKSelectMax && params.k < n) {
    count = params.k;
    group_select(x + begin, n, count, begin, to, counts, thread_index, threads);
  } else {
    for (uint i = thread_index; i < n; i += threads) to[i] = order_key(x[begin + i], begin + i);
  }
  for (uint i = count + thread_index; i < params.candidates; i += threads) to[i] = 0;
}

// One threadgroup does it all: k is small, or the caller wants much to be sorted.
kernel void top_k_merge_f32(constant TopKParams& params [[buffer(0)]],
                            device const float* x [[buffer(1)]], device ulong* keys [[buffer(2)]],
                            device float* values [[buffer(3)]], device int* ids [[buffer(4)]],
                            uint thread_index [[thread_index_in_threadgroup]],
                            uint threads [[threads_per_threadgroup]]) {
  group_sort(keys, select_chunks(params.elements) * params.candidates, thread_index, threads);
  for (uint i = thread_index; i < params.k; i += threads) {
    const uint index = key_index(keys[i]);
    values[i] = x[index];
    ids[i] = int(index);
  }
}
