// Shared by host and device code.
#ifndef DECANT_OPS_ADVANCE_PARAMS_H_
#define DECANT_OPS_ADVANCE_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

struct DecodeStep {
  uint32_t position;
  uint32_t token;
};
// What a log keeps of a step; 0 is none.
constexpr uint64_t decode_log_entry(DecodeStep step) {
  return (uint64_t{step.position} + 1) << 32 | step.token;
}

// What a cache of `kv_capacity` slots holds after `tokens` tokens were appended. Also what the host
// uses to fill the structs for the first time.
struct RingState {
  uint32_t kv_seq_len;
  uint32_t ring_start;
};
constexpr RingState ring_after(uint32_t tokens, uint32_t kv_capacity) {
  if (kv_capacity == 0) return {0, 0};
  if (tokens < kv_capacity) return {tokens, 0};
  return {kv_capacity, tokens % kv_capacity};
}

static_assert(sizeof(DecodeStep) == 8);
static_assert(offsetof(DecodeStep, position) == 0 && offsetof(DecodeStep, token) == 4);

}  // namespace decant

#endif  // DECANT_OPS_ADVANCE_PARAMS_H_
