// Attention of one new query token over an f16 KV cache, with grouped heads, sliding windows and
// rings: the heart of decoding.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_FLASH_ATTN_VEC_H_
#define DECANT_OPS_FLASH_ATTN_VEC_FLASH_ATTN_VEC_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/encoder.h"
#include "decant/kernels/attention.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {

// Query head h reads KV head h / (num_heads / num_kv_heads). Slot p of the cache is attended iff
// p < kv_seq_len and its age lies in the window (kernels/attention.h); other slots may hold
// anything, NaN included. out = sum over attended p of softmax(scale * q . k[p]) v[p], 0 if there
// is none.
struct FlashAttnVecArgs {
  Buffer q;                         // f32 [num_heads, head_dim], roped, not scaled
  Buffer k;                         // f16 [num_kv_heads, kv_capacity, head_dim], 16-byte aligned
  Buffer v;                         // as k
  Buffer out;                       // f32 [num_heads, head_dim]
  uint32_t kv_seq_len;              // keys in the cache, the new token's own included
  float scale;                      // usually 1 / sqrt(head_dim)
  AttnMask mask = AttnMask::kNone;  // with one query, kNone and kCausal attend the same keys
  uint32_t sliding_window = 0;      // keys, the newest included; with kSlidingWindow only
  uint32_t ring_start = 0;          // slot of the oldest key; 0 until the ring is full
  // 1: one workgroup per head. 32: partial results in tmp, then the reduce kernel. 0: the planner
  // chooses for the device; it needs no tmp.
  uint32_t workgroups_per_head = 0;
  Buffer tmp{};  // f32, flash_attn_vec_tmp_bytes; with 32 workgroups only
  // u32 [9], a FlashAttnVecParams that a kernel may rewrite between replays. When given, kv_seq_len
  // and ring_start come from it at run time, clamped to kv_capacity, and so do scale, mask and
  // window; those above are ignored. Its sizes are not read: they come from the tensors.
  Buffer params{};
};

// Bytes of tmp that the given number of workgroups per head (0, 1 or 32) needs.
size_t flash_attn_vec_tmp_bytes(uint32_t num_heads, uint32_t head_dim,
                                uint32_t workgroups_per_head);

// How a call will run. Depends on shapes and the device, never on kv_seq_len, so that a captured
// graph serves a growing cache bit-equally to single calls.
struct FlashAttnVecPlan {
  uint32_t workgroups_per_head = 0;  // 1, 32, or 0: keys split over `splits`, merged
  Kernel kernel = nullptr;
  uint32_t splits = 1;  // the most; how many have work, the live length decides
  Launch launch{};
  FlashAttnVecCudaShape cuda{};
  size_t tmp_bytes = 0;      // to be given by the caller
  size_t scratch_bytes = 0;  // taken from the encoder
};
FlashAttnVecPlan plan(const FlashAttnVecArgs& args, const Device& device);

// Records the op: one dispatch, or with 32 workgroups two with a barrier between, marked as SDPA.
// Throws InvalidArgument naming the argument, what was expected and what came: head_dim other than
// 64, 128, 256; wrong dtypes or shapes; num_heads not a multiple of num_kv_heads; kv_seq_len 0 or
// above kv_capacity; a ring_start that does not fit; a scale that is not finite; an unknown mask; a
// window of 0; tmp too small; misaligned or overlapping buffers; buffers of different devices.
// Relative error against double precision: 1e-5 on the CPU, 1e-3 on CUDA.
void flash_attn_vec(CommandEncoder& encoder, const FlashAttnVecArgs& args);

// The second half of the 32-workgroup form, alone: merges tmp's partials of R rows into out.
struct FlashAttnVecReduceArgs {
  Buffer tmp;  // f32, at least R * 32 * (head_dim + 2) elements in the layout of params.h
  Buffer out;  // f32 [R, head_dim]
};
void flash_attn_vec_reduce(CommandEncoder& encoder, const FlashAttnVecReduceArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_VEC_FLASH_ATTN_VEC_H_
