// Translation of cpu.cc.
#include <metal_stdlib>

#include "decant/kernels/metal/select.h"
#include "decant/ops/argmax/params.h"

using namespace metal;
using namespace decant;

// The greatest key of x[0, n), whose indices count from `first`; every thread gets it.
static ulong select_best(device const float* x, uint n, uint first, threadgroup ulong* scratch,
                         uint thread_index, uint lane, uint simdgroup, uint simdgroups) {
  ulong best = 0;
  for (uint i = thread_index; i < n; i += simdgroups * 32)
    best = max(best, order_key(x[i], first + i));
  return group_max_key(best, scratch, lane, simdgroup, simdgroups);
}

// One threadgroup: one row of a single chunk.
kernel void argmax_row(constant ArgmaxParams& params [[buffer(0)]],
                           device const float* x [[buffer(1)]], device int* out [[buffer(2)]],
                           uint row [[threadgroup_position_in_grid]],
                           uint thread_index [[thread_index_in_threadgroup]],
                           uint lane [[thread_index_in_simdgroup]],
                           uint simdgroup [[simdgroup_index_in_threadgroup]],
                           uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup ulong scratch[32];
  const ulong best = select_best(x + ulong(row) * params.row_elems, params.row_elems, 0,
                                 scratch, thread_index, lane, simdgroup, simdgroups);
  if (thread_index == 0) out[row] = int(key_index(best));
}

// One threadgroup: one chunk of one row.
kernel void argmax_chunk(constant ArgmaxParams& params [[buffer(0)]],
                             device const float* x [[buffer(1)]], device ulong* keys [[buffer(2)]],
                             uint2 group [[threadgroup_position_in_grid]],
                             uint2 groups [[threadgroups_per_grid]],
                             uint thread_index [[thread_index_in_threadgroup]],
                             uint lane [[thread_index_in_simdgroup]],
                             uint simdgroup [[simdgroup_index_in_threadgroup]],
                             uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup ulong scratch[32];
  const uint begin = group.y * kSelectChunk;
  const uint n = min(uint(kSelectChunk), params.row_elems - begin);
  const ulong best = select_best(x + ulong(group.x) * params.row_elems + begin, n, begin, scratch,
                                 thread_index, lane, simdgroup, simdgroups);
  if (thread_index == 0) keys[ulong(group.x) * groups.y + group.y] = best;
}

// One thread: the best of one row's chunks.
kernel void argmax_merge(constant ArgmaxParams& params [[buffer(0)]],
                         device const ulong* keys [[buffer(1)]], device int* out [[buffer(2)]],
                         uint row [[thread_position_in_grid]]) {
  if (row >= params.rows) return;
  const uint chunks = select_chunks(params.row_elems);
  ulong best = 0;
  for (uint i = 0; i < chunks; ++i) best = max(best, keys[ulong(row) * chunks + i]);
  out[row] = int(key_index(best));
}
