// Everything between the projections of q, k, v and the output projection when one token is
// decoded: norm and RoPE of q and k, the new token's place in the cache, attention over it.
#ifndef DECANT_OPS_ATTENTION_STEP_ATTENTION_STEP_H_
#define DECANT_OPS_ATTENTION_STEP_ATTENTION_STEP_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/encoder.h"
#include "decant/kernels/attention.h"
#include "decant/ops/attention_step/params.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {

// With D = head_dim:
//
//   q' = rope(norm(q) * q_norm), k' = rope(norm(k) * k_norm)      as ops/qk_norm_rope
//   the new token's slot of the caches = k', v, rounded to f16    as ops/kv_append
//   out = attention of q' over the cache, that slot included      as ops/flash_attn_vec
//
// kv_seq_len and ring_start describe the cache once the new token is in it. Its slot is then the
// newest one: ring_start - 1 (kv_capacity - 1 for 0) if the cache is full, else kv_seq_len - 1.
// Slots that are neither attended nor written may hold anything, NaN included.
struct AttentionStepArgs {
  Buffer q;       // f32 [num_heads, D], as projected
  Buffer k, v;    // f32 [num_kv_heads, D], as projected
  Buffer q_norm;  // f32 [D]
  Buffer k_norm;  // f32 [D]
  Buffer rope;    // f32 [1, 2, D / 2]: cosines, then sines, of the token (see ops/rope_table)
  float eps;
  Buffer k_cache;  // f16 [num_kv_heads, kv_capacity, D], 16-byte aligned
  Buffer v_cache;  // as k_cache
  Buffer out;      // f32 [num_heads, D]
  uint32_t kv_seq_len;
  float scale;  // usually 1 / sqrt(D)
  AttnMask mask = AttnMask::kNone;
  uint32_t sliding_window = 0;  // keys, the newest included; with kSlidingWindow only
  uint32_t ring_start = 0;      // slot of the oldest key; 0 until the ring is full
  // u32 [9], a FlashAttnVecParams that a kernel may rewrite between replays, as flash_attn_vec
  // takes it: kv_seq_len, ring_start, scale, mask and window then come from it at run time, clamped
  // to the capacity. With a kv_seq_len of 0 nothing is written and out is 0.
  Buffer params{};
};

// How a call will run. Depends on shapes and the device, never on kv_seq_len.
struct AttentionStepPlan {
  AttentionStepParams params{};
  uint32_t splits = 1;
  Launch launch{};
  size_t scratch_bytes = 0;  // taken from the encoder
};
AttentionStepPlan plan(const AttentionStepArgs& args, const Device& device);

// Records the op: one dispatch, marked as SDPA (on Metal two, where keys are split). On the CPU
// bit-equal to qk_norm_rope, kv_append and flash_attn_vec one after the other.
//
// Throws InvalidArgument naming the argument, what was expected and what came: head_dim other than
// 64, 128, 256; wrong dtypes or shapes; num_heads not a multiple of num_kv_heads; eps not a
// positive finite number; kv_seq_len 0 or above kv_capacity; a ring_start that does not fit; a
// scale that is not finite; an unknown mask; a window of 0; misaligned or overlapping buffers;
// buffers of different devices.
void attention_step(CommandEncoder& encoder, const AttentionStepArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_ATTENTION_STEP_ATTENTION_STEP_H_
