// Translation of cpu.cc. One threadgroup copies a row (a head of a token) of k and of v.
#include <metal_stdlib>

#include "decant/ops/kv_append/params.h"

using namespace metal;
using namespace decant;

// Element i of `from`, which is f16 or f32, as f16.
static half load_half(device const uchar* from, bool is_f16, ulong i) {
  if (is_f16) return reinterpret_cast<device const half*>(from)[i];
  return half(reinterpret_cast<device const float*>(from)[i]);
}

kernel void kv_append_f16(constant KvAppendParams& params [[buffer(0)]],
                          device const uint& position [[buffer(1)]],
                          device const uchar* k [[buffer(2)]], device const uchar* v [[buffer(3)]],
                          device half* k_cache [[buffer(4)]], device half* v_cache [[buffer(5)]],
                          uint group [[threadgroup_position_in_grid]],
                          uint thread_index [[thread_index_in_threadgroup]],
                          uint threads [[threads_per_threadgroup]]) {
  const ulong row = ulong(params.first_token) * params.num_kv_heads + group;
  ulong slot = position + row / params.num_kv_heads;
  if (params.ring)
    slot %= params.kv_capacity;
  else if (slot >= params.kv_capacity)
    return;
  const ulong from = row * params.head_dim;
  const ulong to = (row % params.num_kv_heads * params.kv_capacity + slot) * params.head_dim;
  for (uint i = thread_index; i < params.head_dim; i += threads) {
    k_cache[to + i] = load_half(k, params.k_is_f16, from + i);
    v_cache[to + i] = load_half(v, params.v_is_f16, from + i);
  }
}
