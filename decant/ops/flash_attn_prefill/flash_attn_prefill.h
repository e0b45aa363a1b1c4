// Attention of many new tokens (a prompt) over the older keys of a KV cache and over themselves.
#ifndef DECANT_OPS_FLASH_ATTN_PREFILL_FLASH_ATTN_PREFILL_H_
#define DECANT_OPS_FLASH_ATTN_PREFILL_FLASH_ATTN_PREFILL_H_

#include <cstdint>

#include "decant/core/encoder.h"
#include "decant/kernels/attention.h"

namespace decant {

// n new tokens, of which none is in the cache yet. Keys are numbered by age: 0 .. kv_seq_len - 1
// the older ones, oldest first, then the new ones. With g = h / (num_heads / num_kv_heads):
//
//   out[i][h] = sum over j of softmax_j(scale * dot(q[i][h], key[j][g])) * value[j][g]
//
// where query i attends key j iff j <= kv_seq_len + i and, with a sliding window W, also
// j > kv_seq_len + i - W: exactly W keys, its own included. Causality among the new tokens holds
// under every mask; kNone and kCausal are the same here.
struct FlashAttnPrefillArgs {
  Buffer q;      // f32 [n, num_heads, head_dim], roped, not scaled
  Buffer k_new;  // f16 [n, num_kv_heads, head_dim]
  Buffer v_new;  // f16 [n, num_kv_heads, head_dim]
  // f16 [num_kv_heads, kv_capacity, head_dim]. Both may be left out if kv_seq_len is 0.
  Buffer k_cache;
  Buffer v_cache;
  Buffer out;               // f32 [n, num_heads, head_dim]
  uint32_t kv_seq_len;      // tokens in the cache, all older than the new ones
  uint32_t ring_start = 0;  // slot of the oldest key; 0 until the cache is full
  float scale;
  AttnMask mask = AttnMask::kCausal;
  uint32_t sliding_window = 0;  // keys, with AttnMask::kSlidingWindow
};

// head_dim is any multiple of 16 up to this.
inline constexpr uint32_t kFlashAttnPrefillMaxHeadDim = 512;

// Records the op as one SDPA dispatch; it needs no workspace. Slots that a query does not attend
// never influence its result, whatever bits they hold; a NaN that it attends does.
//
// Throws InvalidArgument, naming argument, expected and received value: a missing buffer, another
// dtype or shape, head_dim not supported, zero tokens or heads, num_heads not a multiple of
// num_kv_heads, kv_seq_len > kv_capacity, ring_start >= kv_capacity or != 0 before the cache is
// full, a scale that is not finite, an unknown mask, a window of 0 keys, K or V not aligned to 16
// bytes, a buffer of another device, out overlapping an input.
void flash_attn_prefill(CommandEncoder& encoder, const FlashAttnPrefillArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_PREFILL_FLASH_ATTN_PREFILL_H_
