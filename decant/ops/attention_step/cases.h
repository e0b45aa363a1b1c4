// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_ATTENTION_STEP_CASES_H_
#define DECANT_OPS_ATTENTION_STEP_CASES_H_

#include <cstdint>
#include <vector>

#include "decant/kernels/attention.h"

namespace decant {

struct AttentionStepCase {
  uint32_t head_dim, num_heads, num_kv_heads, kv_seq_len;
  uint32_t kv_capacity;
  uint32_t ring_start = 0;
  AttnMask mask = AttnMask::kNone;
  uint32_t sliding_window = 0;
};

// The first token; lengths around a block and a split, so that the new slot is the first or last of
// one; rings just full and wrapped, the new slot at either end; several KV heads for one thread.
inline std::vector<AttentionStepCase> attention_step_cases() {
  std::vector<AttentionStepCase> cases;
  for (const uint32_t kv : {1u, 2u, 63u, 64u, 65u, 512u, 513u, 1025u}) {
    cases.push_back({256, 4, 1, kv, 1025});
    cases.push_back({128, 6, 3, kv, kv + 7, 0, AttnMask::kCausal});
    cases.push_back({64, 16, 2, kv, kv, 0, AttnMask::kSlidingWindow, 31});
  }
  for (const uint32_t window : {1u, 33u, 512u, 519u})
    for (const uint32_t start : {0u, 1u, 64u, 300u, 518u})
      cases.push_back({256, 4, 1, 519, 519, start, AttnMask::kSlidingWindow, window});
  cases.push_back({128, 16, 8, 40, 40, 39, AttnMask::kSlidingWindow, 33});
  cases.push_back({256, 16, 8, 700, 5000});
  cases.push_back({64, 7, 1, 9000, 9000, 4321});
  return cases;
}

// Gemma 3 270M: a sliding layer, and a global one at two depths.
inline constexpr AttentionStepCase kAttentionStepBenches[] = {
    {256, 4, 1, 519, 519, 100, AttnMask::kSlidingWindow, 512},
    {256, 4, 1, 4096, 4096},
    {256, 4, 1, 16384, 16384},
};

}  // namespace decant

#endif  // DECANT_OPS_ATTENTION_STEP_CASES_H_
