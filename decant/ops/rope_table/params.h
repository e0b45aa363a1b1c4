// Shared by host and device code.
#ifndef DECANT_OPS_ROPE_TABLE_PARAMS_H_
#define DECANT_OPS_ROPE_TABLE_PARAMS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace decant {

struct RopeTableParams {
  double base;
  double position_scale;
  uint32_t tokens;
  uint32_t pairs;  // per token: half the head dimension
};
static_assert(sizeof(RopeTableParams) == 24 && offsetof(RopeTableParams, base) == 0 &&
              offsetof(RopeTableParams, position_scale) == 8 &&
              offsetof(RopeTableParams, tokens) == 16 && offsetof(RopeTableParams, pairs) == 20);

// Tokens that one group computes: about 1,024 pairs, some 15 us of sines.
constexpr uint32_t rope_table_group_tokens(uint32_t pairs) { return std::max(1u, 1024 / pairs); }

}  // namespace decant

#endif  // DECANT_OPS_ROPE_TABLE_PARAMS_H_
