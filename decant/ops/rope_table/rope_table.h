// The cosines and sines of rotary position embedding for a run of tokens.
#ifndef DECANT_OPS_ROPE_TABLE_ROPE_TABLE_H_
#define DECANT_OPS_ROPE_TABLE_ROPE_TABLE_H_

#include "decant/core/encoder.h"

namespace decant {

// For token t and pair i of D/2 (Su et al., arXiv 2104.09864):
//
//   angle = (position + t) * position_scale * base^(-2i / D)
//   out[t][0][i] = cos(angle), out[t][1][i] = sin(angle)
//
// computed in double, so that large positions lose nothing but the final rounding to f32.
struct RopeTableArgs {
  Buffer out;  // f32 [n, 2, D/2]
  double base;
  double position_scale = 1;  // 1/8: linear scaling by 8
  uint32_t position = 0;      // absolute position of token 0
  Buffer position_buffer{};   // u32 [1]; if given, overrides `position` with its value at run time
};

// Records the op. Throws InvalidArgument: out not f32 [n, 2, D/2], base not positive and finite,
// position_scale not finite, a position past 2^32, position_buffer not u32 [1] or overlapping out,
// buffers of another device.
void rope_table(CommandEncoder& encoder, const RopeTableArgs& args);
void validate(const RopeTableArgs& args);  // what rope_table() checks first

}  // namespace decant

#endif  // DECANT_OPS_ROPE_TABLE_ROPE_TABLE_H_
