// Moves a decode graph on by one token, on the device: the only thing that changes between replays.
#ifndef DECANT_OPS_ADVANCE_ADVANCE_H_
#define DECANT_OPS_ADVANCE_ADVANCE_H_

#include <algorithm>

#include "decant/core/encoder.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {

// step.position grows by one, step.token becomes `token`, and each attention struct gets the
// kv_seq_len and ring_start that hold once the token at the new position is in its cache. Its other
// fields stay.
struct AdvanceArgs {
  Buffer step;    // u32 [2]: position, token; read and written
  Buffer token;   // i32 [1]: the token sampled last
  Buffer attn_a;  // u32 [9]: FlashAttnVecParams of one kind of cache
  Buffer attn_b;  // u32 [9]: of another kind; may be attn_a itself
};

// Throws InvalidArgument: dtypes or sizes other than these, buffers of another device.
void advance(CommandEncoder& encoder, const AdvanceArgs& args);

// What a cache of `kv_capacity` slots holds after `tokens` tokens were appended. Also what the host
// uses to fill the structs for the first time.
struct RingState {
  uint32_t kv_seq_len;
  uint32_t ring_start;
};
constexpr RingState ring_after(uint32_t tokens, uint32_t kv_capacity) {
  if (tokens < kv_capacity || kv_capacity == 0) return {std::min(tokens, kv_capacity), 0};
  return {kv_capacity, tokens % kv_capacity};
}

}  // namespace decant

#endif  // DECANT_OPS_ADVANCE_ADVANCE_H_
