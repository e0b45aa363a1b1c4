// What decoding a token begins with: the decode graph moves on by one token, and the token's
// embedding and the angles of its position are made.
#ifndef DECANT_OPS_STEP_INPUTS_STEP_INPUTS_H_
#define DECANT_OPS_STEP_INPUTS_STEP_INPUTS_H_

#include <array>

#include "decant/ops/advance/advance.h"

namespace decant {

struct StepRope {
  Buffer out;  // f32 [1, 2, D/2]
  double base;
  double position_scale = 1;
};

// Records advance(advance); then embed of advance.token to `x`, and a rope_table of the new
// position for each of `ropes`: their headers define them. On CUDA it is one dispatch, elsewhere
// one for each.
//
// Throws what they throw; InvalidArgument also for more than one token's rows.
struct StepInputsArgs {
  AdvanceArgs advance;
  Buffer table;  // [vocab, hidden], as embed takes it
  Buffer x;      // f32 [1, hidden]
  float scale = 1;
  std::array<StepRope, 2> ropes;
};
void step_inputs(CommandEncoder& encoder, const StepInputsArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_STEP_INPUTS_STEP_INPUTS_H_
