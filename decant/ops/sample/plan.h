// What the two kernels of sample agree on: how params are read, and what lies where in the
// workspace.
#ifndef DECANT_OPS_SAMPLE_PLAN_H_
#define DECANT_OPS_SAMPLE_PLAN_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "decant/core/kernel_registry.h"
#include "decant/kernels/select.h"
#include "decant/ops/sample/params.h"

namespace decant {

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

  SampleChunk* chunk_states(std::byte* base) const { return reinterpret_cast<SampleChunk*>(base); }
  uint64_t* keys(std::byte* base) const { return reinterpret_cast<uint64_t*>(base + keys_offset); }
  float* logits(std::byte* base) const { return reinterpret_cast<float*>(base + logits_offset); }

  size_t chunks;
  size_t keys_offset, logits_offset, bytes;
};

// The arguments of both kernels, by slot.
struct SampleSlots {
  explicit SampleSlots(const CpuGroup& group)
      : params(group.params<SampleParams>()),
        shape(*group.arg<const SampleShape>(1)),
        logits(group.arg<const float>(2)),
        history(group.arg<int32_t>(3)),
        state(group.arg<SampleState>(4)),
        workspace(group.arg<std::byte>(5)) {}

  const SampleParams& params;
  const SampleShape& shape;
  const float* logits;
  int32_t* history;
  SampleState* state;
  std::byte* workspace;
};

}  // namespace decant

#endif  // DECANT_OPS_SAMPLE_PLAN_H_
