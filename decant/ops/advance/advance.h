// Moves a decode graph on by one token, on the device: the only thing that changes between replays.
#ifndef DECANT_OPS_ADVANCE_ADVANCE_H_
#define DECANT_OPS_ADVANCE_ADVANCE_H_

#include <optional>

#include "decant/core/encoder.h"
#include "decant/ops/advance/params.h"
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
  Buffer log{};   // i64 [n], optional: position and token go to slot position % n; so a host that
                  // is ahead of the device reads tokens behind it, see logged_token()
};

// Throws InvalidArgument: dtypes or sizes other than these, buffers of another device.
void advance(CommandEncoder& encoder, const AdvanceArgs& args);
void validate(const AdvanceArgs& args);  // what advance() checks first

// The token that advance() took at `position`, if it has run for that position and the log's slot
// holds it still; may be called while commands run, with a log of Usage::kHostVisible.
inline std::optional<int32_t> logged_token(const Buffer& log, uint32_t position) {
  const auto entry = log.load<uint64_t>(position % log.elements());
  if (entry >> 32 != uint64_t{position} + 1) return std::nullopt;
  return static_cast<int32_t>(entry & 0xFFFFFFFFu);
}

}  // namespace decant

#endif  // DECANT_OPS_ADVANCE_ADVANCE_H_
