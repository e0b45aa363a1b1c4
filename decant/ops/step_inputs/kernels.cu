// One block: kEmbedThreads threads for the row, kStepAngleThreads for the angles, one of which moves
// the step on. Compiled for the format of one table: DECANT_FORMAT.
#include "decant/kernels/ptx.cuh"
#include "decant/ops/advance/advance.cuh"
#include "decant/ops/embed/embed.cuh"
#include "decant/ops/rope_table/rope_table.cuh"
#include "decant/ops/step_inputs/params.h"

namespace decant {

constexpr uint32_t kThreads = kEmbedThreads + kStepAngleThreads;

extern "C" __global__ void __launch_bounds__(kThreads)
    step_inputs(const StepInputsParams value, const StepInputsParams* in_buffer, DecodeStep* step,
                const int32_t* token, FlashAttnVecParams* attn_a, FlashAttnVecParams* attn_b,
                uint64_t* log, const Block* table, float* x, float* rope_a, float* rope_b) {
  __shared__ float decoded[kEmbedPart];
  const StepInputsParams p = in_buffer ? *in_buffer : value;
  const bool embeds = threadIdx.x < kEmbedThreads;
  const uint32_t pairs = p.ropes[0].pairs, all_pairs = pairs + p.ropes[1].pairs;
  // Pairs of the first table, then those of the second.
  const auto frequency_of = [&](uint32_t i) {
    return i < pairs ? rope_frequency(p.ropes[0], i) : rope_frequency(p.ropes[1], i - pairs);
  };
  const uint32_t first = threadIdx.x - kEmbedThreads;
  // Of two angles, 256 dims in both tables, before the position is known.
  const uint32_t second = first + kStepAngleThreads;
  const double frequencies[] = {!embeds && first < all_pairs ? frequency_of(first) : 0,
                                !embeds && second < all_pairs ? frequency_of(second) : 0};
  wait_for_previous();
  let_next_start();

  const DecodeStep now{step->position + 1, static_cast<uint32_t>(*token)};
  __syncthreads();  // all have read the step
  if (embeds) {
    embed_row<kEmbedThreads>(p.embed, table, static_cast<int32_t>(now.token), x, decoded,
                             [] { barrier_of_first<kEmbedThreads>(); });
    return;
  }
  for (uint32_t i = first; i < all_pairs; i += kStepAngleThreads) {
    const double frequency = i == first    ? frequencies[0]
                             : i == second ? frequencies[1]
                                           : frequency_of(i);
    const RopeTableParams& rope = p.ropes[i >= pairs];
    float* out = i >= pairs ? rope_b + (i - pairs) : rope_a + i;
    store_angle(rope, now.position, frequency, out, out + rope.pairs);
  }
  if (threadIdx.x == kThreads - 1) {
    advance_to(now, step, attn_a, attn_b);
    if (p.log_slots) log_step(now, log, p.log_slots);
  }
}

}  // namespace decant
