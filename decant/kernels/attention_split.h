// How the keys of a KV cache are cut among groups, and where the groups leave what they found.
// Shared by the ops that attend one token: same cut, same bits.
#ifndef DECANT_KERNELS_ATTENTION_SPLIT_H_
#define DECANT_KERNELS_ATTENTION_SPLIT_H_

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "decant/kernels/attention.h"

namespace decant {

// Most keys of a block, 16 KB of K and as much of V; see attention_heads-inl.h.
constexpr uint32_t attention_block_keys(uint32_t head_dim) { return 8192 / head_dim; }

// What a part without attended keys reports as its maximum: -FLT_MAX / 2, finite so that
// differences of two of them are no NaN.
inline constexpr float kAttentionNoMax = -1.70141173e38f;

// Into how many parts the keys of a KV head are cut: enough to occupy many threads, each long
// enough that merging its partial result costs a few per cent of reading its keys. A power of two,
// so that the parts, equally long, divide evenly among the usual numbers of threads.
constexpr uint32_t attention_parts(uint32_t keys) {
  constexpr uint32_t kMostParts = 64, kPartKeys = 256;
  const uint32_t at_least = std::clamp(keys / 64, 1u, 4u);
  return std::bit_floor(std::clamp(keys / kPartKeys, at_least, kMostParts));
}

// The first key of part `part` of `parts`; that of part `parts` is `keys`. Parts differ by about
// 32 keys. As they follow the attended keys, not the slots, the time of a growing cache has no
// steps.
constexpr uint32_t attention_part_begin(uint32_t keys, uint32_t parts, uint32_t part) {
  constexpr uint64_t kGrain = 32;
  const uint64_t grains = (keys + kGrain - 1) / kGrain;
  return static_cast<uint32_t>(std::min<uint64_t>(grains * part / parts * kGrain, keys));
}

// Floats rounded up to whole cache lines.
constexpr size_t attention_round(size_t floats) { return (floats + 15) / 16 * 16; }

// The scratch that all groups of a dispatch share, zeroed before the first: a counter per KV head,
// then O [kv_head][part][heads * head_dim], then {S, M} [kv_head][part][heads]. Float indices.
struct AttentionPartials {
  uint32_t heads;  // query heads of one KV head
  uint32_t kv_heads, head_dim;
  uint32_t parts;  // the most, those of a full cache

  constexpr size_t o(size_t kv_head, size_t part) const {
    return attention_round(kv_heads) + (kv_head * parts + part) * heads * head_dim;
  }
  constexpr size_t sm(size_t kv_head, size_t part) const {
    return o(kv_heads, 0) + (kv_head * parts + part) * heads * 2;
  }
  constexpr size_t floats() const { return sm(kv_heads, 0); }
};

// State of a head (M, S, and the factor for O), one value per lane of a vector.
inline constexpr size_t kAttentionStateFloats = 16;

// Floats of a thread's own workspace for attend_part (attention_heads-inl.h).
constexpr size_t attention_work_floats(size_t heads, uint32_t head_dim) {
  return heads * (attention_block_keys(head_dim) + 3 * kAttentionStateFloats);
}

}  // namespace decant

#endif  // DECANT_KERNELS_ATTENTION_SPLIT_H_
