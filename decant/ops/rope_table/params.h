// Shared by host and device code.
#ifndef DECANT_OPS_ROPE_TABLE_PARAMS_H_
#define DECANT_OPS_ROPE_TABLE_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

#if !defined(__METAL_VERSION__)  // which has no double
struct RopeTableParams {
  double base;
  double position_scale;
  uint32_t tokens;
  uint32_t pairs;  // per token: half the head dimension
};
static_assert(sizeof(RopeTableParams) == 24 && offsetof(RopeTableParams, base) == 0 &&
              offsetof(RopeTableParams, position_scale) == 8 &&
              offsetof(RopeTableParams, tokens) == 16 && offsetof(RopeTableParams, pairs) == 20);
#endif

// For Metal the host works out the frequencies, in turns per position, and the kernel multiplies
// integers: the whole turns fall off the top of 64 bits.
DECANT_CONSTANT uint32_t kRopeTableTurns = 256;  // pairs of one dispatch
struct RopeTableTurns {
  uint32_t tokens;
  uint32_t pairs;  // of a row of the table
  uint32_t first_pair;
  uint32_t num_pairs;               // of this dispatch
  uint64_t turns[kRopeTableTurns];  // in units of 2^-64
};
static_assert(sizeof(RopeTableTurns) == 16 + 8 * 256 && offsetof(RopeTableTurns, tokens) == 0 &&
              offsetof(RopeTableTurns, pairs) == 4 && offsetof(RopeTableTurns, first_pair) == 8 &&
              offsetof(RopeTableTurns, num_pairs) == 12 && offsetof(RopeTableTurns, turns) == 16);

// Tokens that one group computes: about 1,024 pairs, some 15 us of sines.
constexpr uint32_t rope_table_group_tokens(uint32_t pairs) {
  return pairs < 1024 ? 1024 / pairs : 1;
}

}  // namespace decant

#endif  // DECANT_OPS_ROPE_TABLE_PARAMS_H_
