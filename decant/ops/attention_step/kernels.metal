// Translation of cpu.cc. A threadgroup attends the blocks w, w + W, ... of 32 slots of one KV head,
// with a simdgroup for each kHeads of its query heads, which norms and ropes them for itself. The
// group that has the new token's slot writes it first; no other group looks at it.
#include <metal_stdlib>

#include "decant/kernels/metal/attend.h"
#include "decant/kernels/metal/norm_rope.h"
#include "decant/ops/attention_step/params.h"

using namespace metal;
using namespace decant;

// The slot of the newest of `live` keys.
static uint newest_slot(uint live, uint ring_start, uint capacity) {
  return live < capacity ? live - 1 : slot_of_logical(live - 1, ring_start, capacity);
}

// Grid: (1, num_kv_heads, workgroups). With one workgroup `out` is written, with 32 the partial
// results in tmp, which flash_attn_vec's reduce merges.
template <uint D, uint kHeads>
kernel void attention_step(
    device const FlashAttnVecParams& params [[buffer(0)]], device const float* q [[buffer(1)]],
    device const float* k [[buffer(2)]], device const float* v [[buffer(3)]],
    device const float* q_norm [[buffer(4)]], device const float* k_norm [[buffer(5)]],
    device const float* rope [[buffer(6)]], device half* k_cache [[buffer(7)]],
    device half* v_cache [[buffer(8)]], device float* out [[buffer(9)]],
    device float* tmp [[buffer(10)]], constant AttentionStepParams& fixed [[buffer(11)]],
    threadgroup float* shared [[threadgroup(0)]], uint3 group [[threadgroup_position_in_grid]],
    uint3 groups [[threadgroups_per_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  const uint kv_head = group.y, w = group.z, workgroups = groups.z, capacity = fixed.kv_capacity;
  const uint first_head = (kv_head * simdgroups + simdgroup) * kHeads;
  const ulong cache = ulong(kv_head) * capacity * D;

  const uint live = min(params.kv_seq_len, capacity);
  const uint slot = newest_slot(live, min(params.ring_start, capacity - 1), capacity);
  if (live > 0 && slot / kAttendKeys % workgroups == w) {
    const ulong from = ulong(kv_head) * D, to = cache + ulong(slot) * D;
    if (simdgroup == 0)
      norm_rope_head(k + from, k_norm, rope, k_cache + to, D, fixed.eps, 1.0f, lane);
    for (uint i = thread_index; i < D; i += simdgroups * 32) v_cache[to + i] = half(v[from + i]);
  }
  threadgroup_barrier(mem_flags::mem_device);

  HeadGroup<D, kHeads> state;
  state.k = k_cache + cache;
  state.v = v_cache + cache;
  state.lane = lane;
  state.q = shared + simdgroup * kHeads * (D + kAttendKeys);
  state.p = state.q + kHeads * D;
  for (uint h = 0; h < kHeads; ++h)
    norm_rope_head(q + ulong(first_head + h) * D, q_norm, rope, state.q + h * D, D, fixed.eps,
                   params.scale, lane);
  state.start();
  state.attend_blocks(attended_slots(params, capacity), w, workgroups);
  if (workgroups == 1)
    state.store(out, first_head);
  else
    state.store_partial(tmp, first_head, fixed.num_heads, w);
}

typedef decltype(attention_step<256, 1>) step_kernel;
#define DECANT_STEP(heads, suffix, D)                       \
  template [[host_name("attention_step_f16" suffix "_dk" #D \
                       "_dv" #D)]] kernel step_kernel attention_step<D, heads>;
#define DECANT_HEAD_DIM(D) \
  DECANT_STEP(1, "", D)    \
  DECANT_STEP(2, "_h2", D) \
  DECANT_STEP(4, "_h4", D)
DECANT_HEAD_DIM(64)
DECANT_HEAD_DIM(128)
DECANT_HEAD_DIM(256)
#undef DECANT_HEAD_DIM
#undef DECANT_STEP
