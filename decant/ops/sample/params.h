// Shared by host and device code.
#ifndef DECANT_OPS_SAMPLE_PARAMS_H_
#define DECANT_OPS_SAMPLE_PARAMS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"
#include "decant/kernels/select.h"

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
  // Of exp((logit - max) / t); t is 1 for top_p's sake, temp if nothing is cut off. Metal has no
  // double and counts in units of 2^-kSampleFractionBits, in which sums have no rounding and no
  // order.
#if defined(__METAL_VERSION__)
  uint64_t sum;
#else
  double sum;
#endif
  float max;  // after the penalty; -inf if there is no number
  float unused;
};
static_assert(sizeof(SampleChunk) == 16 && offsetof(SampleChunk, sum) == 0 &&
              offsetof(SampleChunk, max) == 8);

// Of the weights that Metal adds up: 2^14 of a chunk, each at most 1, fit 64 bits.
DECANT_CONSTANT uint32_t kSampleFractionBits = 48;

// Up to here each chunk hands its top_k best on; above, all logits are candidates.
DECANT_CONSTANT uint32_t kSampleSelectMax = 256;
// Of a group of either kernel on a GPU.
DECANT_CONSTANT uint32_t kSampleThreads = 1024;
DECANT_CONSTANT uint32_t kSampleMetalThreads = 256;

#if !defined(__METAL_VERSION__)  // Metal: kernels.metal
// Params as they are used: of a buffer nothing has been checked.
struct SampleFilter {
  explicit SampleFilter(const SampleParams& p)
      : greedy(!(p.temp > 0)),
        temp(p.temp),
        top_k(greedy ? 1 : p.top_k),
        top_p(p.top_p < 1 && p.top_p >= 0 ? p.top_p : 1),
        min_p(p.min_p > 0 && p.min_p <= 1 ? p.min_p : 0),
        penalty(p.repeat_penalty > 0 ? p.repeat_penalty : 1) {}

  // Chunks hand on their best top_k, instead of the whole vocabulary being looked at.
  bool selects() const { return top_k >= 1 && top_k <= kSampleSelectMax; }
  // No token is excluded, so nothing needs to be ordered.
  bool keeps_all() const { return top_k == 0 && top_p == 1 && min_p == 0; }

  bool greedy;
  float temp;
  uint32_t top_k;
  float top_p, min_p;
  float penalty;
};

// Chunk states, then keys, then (unless the chunks select) the logits after the penalty.
struct SampleWorkspace {
  explicit SampleWorkspace(uint32_t vocab)
      : chunks(select_chunks(vocab)),
        keys_offset(chunks * sizeof(SampleChunk)),
        logits_offset(keys_offset +
                      sizeof(uint64_t) * std::max<size_t>(vocab, chunks * kSampleSelectMax)),
        bytes(logits_offset + sizeof(float) * vocab) {}

  template <typename Byte>
  SampleChunk* chunk_states(Byte* base) const {
    return reinterpret_cast<SampleChunk*>(base);
  }
  template <typename Byte>
  uint64_t* keys(Byte* base) const {
    return reinterpret_cast<uint64_t*>(base + keys_offset);
  }
  template <typename Byte>
  float* logits(Byte* base) const {
    return reinterpret_cast<float*>(base + logits_offset);
  }

  size_t chunks;
  size_t keys_offset, logits_offset, bytes;
};
#endif

}  // namespace decant

#endif  // DECANT_OPS_SAMPLE_PARAMS_H_
