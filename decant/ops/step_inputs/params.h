// Shared by host and device code.
#ifndef DECANT_OPS_STEP_INPUTS_PARAMS_H_
#define DECANT_OPS_STEP_INPUTS_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/ops/embed/params.h"
#include "decant/ops/rope_table/params.h"

namespace decant {

// Threads for the angles, on CUDA.
inline constexpr uint32_t kStepAngleThreads = 128;

// Slots: 0 this, 1 DecodeStep, 2 token, 3 and 4 FlashAttnVecParams, 5 log or 8 bytes of zeros,
// 6 table, 7 x, 8 and 9 the RoPE tables.
struct StepInputsParams {
  RopeTableParams ropes[2];
  EmbedParams embed;
  uint32_t log_slots;
  uint32_t unused;
};
static_assert(sizeof(StepInputsParams) == 72 && offsetof(StepInputsParams, ropes) == 0 &&
              offsetof(StepInputsParams, embed) == 48 &&
              offsetof(StepInputsParams, log_slots) == 64);

}  // namespace decant

#endif  // DECANT_OPS_STEP_INPUTS_PARAMS_H_
