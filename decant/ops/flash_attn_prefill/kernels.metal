// A row is a query head of a new token; rows of a KV head follow each other token by token, so that
// neighbours attend nearly the same keys. One simdgroup takes kRows rows against all keys that one
// of them attends, 32 a step, as flash_attn_vec does: every K and V row that is loaded serves kRows
// rows. 4 rows keys head_dim flops for 4 keys head_dim bytes: one flop a byte and row.
#include <metal_stdlib>

#include "decant/kernels/attention.h"
#include "decant/ops/flash_attn_prefill/params.h"

using namespace metal;
using namespace decant;

constant constexpr uint kRows = kFlashAttnPrefillMetalRows;
constant constexpr uint kKeys = 32;
constant constexpr uint kMaxPairs = 8;  // of dimensions a lane: head_dim up to 512

// Keys [begin, end) that a row attends.
struct Keys {
  uint begin, end;
};

// Where the new tokens' and the older keys lie.
struct Cache {
  device const half *new_rows, *old_rows;
  uint kv_seq_len, kv_capacity, ring_start, num_kv_heads, kv_head, head_dim;

  device const half* row(uint key) const {
    if (key >= kv_seq_len)
      return new_rows + (ulong(key - kv_seq_len) * num_kv_heads + kv_head) * head_dim;
    const uint slot = slot_of_logical(key, ring_start, kv_capacity);
    return old_rows + (ulong(kv_head) * kv_capacity + slot) * head_dim;
  }
};

static Cache cache_of(constant FlashAttnPrefillParams& params, device const half* new_rows,
                      device const half* old_rows, uint kv_head) {
  return {new_rows,          old_rows,
          params.kv_seq_len, params.kv_capacity,
          params.ring_start, params.num_kv_heads,
          kv_head,           params.head_dim};
}

// Grid: (rows / kRows, num_kv_heads), one simdgroup.
kernel void flash_attn_prefill_f16(
    constant FlashAttnPrefillParams& params [[buffer(0)]], device const float* q [[buffer(1)]],
    device const half* k_new [[buffer(2)]], device const half* v_new [[buffer(3)]],
    device const half* k_cache [[buffer(4)]], device const half* v_cache [[buffer(5)]],
    device float* out [[buffer(6)]], threadgroup float* shared [[threadgroup(0)]],
    uint2 group [[threadgroup_position_in_grid]], uint lane [[thread_index_in_simdgroup]]) {
  const uint dim = params.head_dim, group_heads = params.num_heads / params.num_kv_heads;
  const Cache k = cache_of(params, k_new, k_cache, group.y);
  const Cache v = cache_of(params, v_new, v_cache, group.y);
  threadgroup float* queries = shared;                // [kRows][dim], scaled
  threadgroup float* weights = shared + kRows * dim;  // [kRows][32]

  const uint first_row = group.x * kRows;
  const uint rows = min(uint(kRows), params.num_new * group_heads - first_row);
  ulong offset[kRows];  // of a row in q and out
  Keys keys[kRows];
  uint begin = 0xFFFFFFFFu, end = 0;
  for (uint r = 0; r < kRows; ++r) {
    // Rows past the end attend nothing.
    const uint row = first_row + min(r, rows - 1), token = row / group_heads;
    offset[r] = (ulong(token) * params.num_heads + group.y * group_heads + row % group_heads) * dim;
    keys[r].end = params.kv_seq_len + token + 1;
    keys[r].begin = window_start(AttnMask(params.mask_type), params.sliding_window, keys[r].end);
    begin = min(begin, keys[r].begin);
    end = max(end, keys[r].end);
    if (r >= rows) keys[r].end = keys[r].begin;
    for (uint i = lane; i < dim; i += 32) queries[r * dim + i] = q[offset[r] + i] * params.scale;
  }
  simdgroup_barrier(mem_flags::mem_threadgroup);

  float2 sums[kRows][kMaxPairs];  // dimensions 2 lane + 64 j and the next
  float row_max[kRows], row_sum[kRows];
  for (uint r = 0; r < kRows; ++r) {
    for (uint j = 0; j < kMaxPairs; ++j) sums[r][j] = float2(0);
    row_max[r] = -1.7e38f;
    row_sum[r] = 0;
  }
  const uint pairs = dim / 2;
  for (uint first = begin; first < end; first += kKeys) {
    const uint count = min(uint(kKeys), end - first);
    // Lane 8 g + m reads the dimensions 4 m, 4 m + 32, ... of the keys g, g + 4, ...
    const uint g = lane / 8, m = lane % 8;
    float score[kRows][8];
    for (uint j = 0; j < 8; ++j) {
      for (uint r = 0; r < kRows; ++r) score[r][j] = 0;
      device const half4* key =
          reinterpret_cast<device const half4*>(k.row(first + min(4 * j + g, count - 1)));
      for (uint i = m; i < dim / 4; i += 8) {
        const float4 k4 = float4(key[i]);
        for (uint r = 0; r < kRows; ++r)
          score[r][j] += dot(reinterpret_cast<threadgroup const float4*>(queries + r * dim)[i], k4);
      }
    }
    // The lanes of a key add up; lane 8 g + m keeps key 4 m + g.
    const uint mine = 4 * m + g;
    simdgroup_barrier(mem_flags::mem_threadgroup);  // the last step's weights were read
    for (uint r = 0; r < kRows; ++r) {
      float s = 0;
      for (uint j = 0; j < 8; ++j) {
        float part = score[r][j];
        part += simd_shuffle_xor(part, 1);
        part += simd_shuffle_xor(part, 2);
        part += simd_shuffle_xor(part, 4);
        if (j == m) s = part;
      }
      const bool attended =
          mine < count && first + mine >= keys[r].begin && first + mine < keys[r].end;
      const float new_max = max(row_max[r], simd_max(attended ? s : -1.7e38f));
      const float weight = attended ? exp(s - new_max) : 0.0f;
      const float rescale = exp(row_max[r] - new_max);
      row_max[r] = new_max;
      row_sum[r] = row_sum[r] * rescale + simd_sum(weight);
      for (uint j = 0; j < kMaxPairs; ++j) sums[r][j] *= rescale;
      weights[r * kKeys + mine] = weight;
    }
    simdgroup_barrier(mem_flags::mem_threadgroup);
    for (uint i = 0; i < count; ++i) {
      const uint key = first + i;
      device const half2* values = reinterpret_cast<device const half2*>(v.row(key));
      for (uint r = 0; r < kRows; ++r) {
        // A weight of 0 would not silence a NaN in a value that the row does not attend.
        if (key < keys[r].begin || key >= keys[r].end) continue;
        const float weight = weights[r * kKeys + i];
        for (uint j = 0; j < kMaxPairs && lane + 32 * j < pairs; ++j)
          sums[r][j] = fma(float2(weight), float2(values[lane + 32 * j]), sums[r][j]);
      }
    }
  }
  for (uint r = 0; r < rows; ++r)
    for (uint j = 0; j < kMaxPairs && lane + 32 * j < pairs; ++j) {
      const float2 result = sums[r][j] / row_sum[r];
      out[offset[r] + 2 * (lane + 32 * j)] = result.x;
      out[offset[r] + 2 * (lane + 32 * j) + 1] = result.y;
    }
}
