// Shared by host and device code.
#ifndef DECANT_OPS_SAMPLE_PARAMS_H_
#define DECANT_OPS_SAMPLE_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

// What may change between replays of a graph. Defaults pick the greatest logit.
struct SampleParams {
  float temp = 0;               // 0: greedy
  float top_p = 1;              // 1: off
  float min_p = 0;              // 0: off
  float repeat_penalty = 1;     // 1: off
  uint32_t top_k = 0;           // 0: off
  uint32_t repeat_last_n = 64;  // tokens of the history that are penalised; 0: none
  uint64_t seed = 0;
};
static_assert(sizeof(SampleParams) == 32 && offsetof(SampleParams, temp) == 0 &&
              offsetof(SampleParams, top_p) == 4 && offsetof(SampleParams, min_p) == 8 &&
              offsetof(SampleParams, repeat_penalty) == 12 && offsetof(SampleParams, top_k) == 16 &&
              offsetof(SampleParams, repeat_last_n) == 20 && offsetof(SampleParams, seed) == 24);

// Advanced by the op.
struct SampleState {
  uint64_t step;            // tokens sampled: the position in the sequence of random numbers
  uint64_t history_length;  // tokens ever put into the history; i is in slot i % capacity
};
static_assert(sizeof(SampleState) == 16 && offsetof(SampleState, step) == 0 &&
              offsetof(SampleState, history_length) == 8);

// Fixed when the op is recorded.
struct SampleShape {
  uint32_t vocab;
  uint32_t history_capacity;
};
static_assert(sizeof(SampleShape) == 8 && offsetof(SampleShape, vocab) == 0 &&
              offsetof(SampleShape, history_capacity) == 4);

// What one chunk of logits contributes when top_k does not limit the candidates.
struct SampleChunk {
  double sum;  // of exp((logit - max) / t); t is 1 for top_p's sake, temp if nothing is cut off
  float max;   // after the penalty; -inf if there is no number
  float unused;
};
static_assert(sizeof(SampleChunk) == 16 && offsetof(SampleChunk, sum) == 0 &&
              offsetof(SampleChunk, max) == 8);

// Up to here each chunk hands its top_k best on; above, all logits are candidates.
inline constexpr uint32_t kSampleSelectMax = 256;

}  // namespace decant

#endif  // DECANT_OPS_SAMPLE_PARAMS_H_
