#include "decant/kernels/ptx.cuh"
#include "decant/ops/advance/advance.cuh"

// Slot 0 is no params struct: its pointer is the step.

namespace decant {

__device__ DecodeStep after(const DecodeStep& step, int32_t token) {
  return {step.position + 1, static_cast<uint32_t>(token)};
}

extern "C" __global__ void advance(const DecodeStep, DecodeStep* step, const int32_t* token,
                                   FlashAttnVecParams* attn_a, FlashAttnVecParams* attn_b) {
  wait_for_previous();
  let_next_start();
  if (threadIdx.x == 0) advance_to(after(*step, *token), step, attn_a, attn_b);
}

extern "C" __global__ void advance_log(const DecodeStep, DecodeStep* step, const int32_t* token,
                                       FlashAttnVecParams* attn_a, FlashAttnVecParams* attn_b,
                                       uint64_t* log, const uint32_t log_slots) {
  wait_for_previous();
  let_next_start();
  if (threadIdx.x > 0) return;
  const DecodeStep now = after(*step, *token);
  advance_to(now, step, attn_a, attn_b);
  log_step(now, log, log_slots);
}

}  // namespace decant
