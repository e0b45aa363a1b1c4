// Writes the keys and values of new tokens into a KV cache.
#ifndef DECANT_OPS_KV_APPEND_KV_APPEND_H_
#define DECANT_OPS_KV_APPEND_KV_APPEND_H_

#include "decant/core/encoder.h"

namespace decant {

// Token i goes to slot (position + i) % kv_capacity of its head. `position` counts tokens since the
// start of the text, not slots.
//
// A linear cache (ring = false) must have room for all tokens. Of a ring, tokens that later ones
// of the same call would overwrite are not written.
struct KvAppendArgs {
  Buffer k;        // f32 or f16 [n, num_kv_heads, D]; f32 is rounded to nearest even
  Buffer v;        // f32 or f16 [n, num_kv_heads, D]
  Buffer k_cache;  // f16 [num_kv_heads, kv_capacity, D]; slots of other tokens keep their bits
  Buffer v_cache;  // f16 [num_kv_heads, kv_capacity, D]
  uint32_t position = 0;
  // u32 [1]; if given, overrides `position` with its value at run time. That value cannot be
  // checked here: tokens that it places beyond the end of a linear cache are not written.
  Buffer position_buffer{};
  bool ring = false;
};

// Records the op. Throws InvalidArgument: another dtype, shapes that do not fit each other, a
// linear cache without room, a position past 2^32, a cache overlapping an operand, position_buffer
// not u32 [1], buffers of another device.
void kv_append(CommandEncoder& encoder, const KvAppendArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_KV_APPEND_KV_APPEND_H_
