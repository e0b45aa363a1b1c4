// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_FLASH_ATTN_PREFILL_CASES_H_
#define DECANT_OPS_FLASH_ATTN_PREFILL_CASES_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "decant/kernels/attention.h"

namespace decant {

struct PrefillCase {
  uint32_t n;
  uint32_t num_heads, num_kv_heads, head_dim;
  uint32_t kv_seq_len = 0, kv_capacity = 0, ring_start = 0;
  AttnMask mask = AttnMask::kCausal;
  uint32_t sliding_window = 0;
};

inline std::vector<PrefillCase> prefill_test_cases() {
  constexpr AttnMask kWindow = AttnMask::kSlidingWindow;
  std::vector<PrefillCase> cases;
  // Around a tile (64 rows, here 16 tokens), a block (64 keys) and a micro-kernel (4 or 8).
  for (const uint32_t n : {1, 2, 7, 8, 9, 31, 32, 33, 64, 100})
    for (const uint32_t older : {0, 1, 31, 32, 33, 511}) {
      const uint32_t capacity = older == 0 ? 0 : older + 3;
      for (const AttnMask mask : {AttnMask::kNone, AttnMask::kCausal})
        cases.push_back({n, 4, 1, 64, older, capacity, 0, mask});
      for (const uint32_t window : {1, 31, 512, 100000})
        cases.push_back({n, 4, 1, 64, older, capacity, 0, kWindow, window});
    }
  // Rings: not full, just full, wrapped. Seven spare slots are what Gemma 3's sliding layers have.
  for (const uint32_t n : {1, 9, 40, 100})
    for (const uint32_t window : {1, 33, 40}) {
      cases.push_back({n, 4, 2, 64, 39, 40, 0, kWindow, window});
      for (const uint32_t start : {0, 1, 7, 20, 39})
        cases.push_back({n, 4, 2, 64, 40, 40, start, kWindow, window});
    }
  for (const uint32_t n : {5, 64}) {
    cases.push_back({n, 2, 1, 64, 518, 519, 0, kWindow, 512});
    for (const uint32_t start : {0, 1, 300, 518})
      cases.push_back({n, 2, 1, 64, 519, 519, start, kWindow, 512});
    cases.push_back({n, 2, 1, 64, 519, 519, 300, AttnMask::kCausal});
  }
  // Head groups that do and do not divide a tile; every supported width and two odd ones.
  for (const uint32_t dim : {64, 128, 256, 16, 80})
    for (const auto& [heads, kv_heads] :
         {std::pair<uint32_t, uint32_t>{4, 1}, {8, 4}, {16, 8}, {3, 1}, {5, 5}, {70, 1}})
      for (const uint32_t n : {1, 37}) {
        cases.push_back({n, heads, kv_heads, dim, 45, 50, 0, AttnMask::kCausal});
        cases.push_back({n, heads, kv_heads, dim, 50, 50, 11, kWindow, 31});
      }
  return cases;
}

// Gemma 3's shapes (4/1, 8/4 and 16/8 heads of 256), a first and a later batch of a prompt.
inline std::vector<PrefillCase> prefill_bench_cases() {
  constexpr AttnMask kWindow = AttnMask::kSlidingWindow;
  return {{512, 4, 1, 256},
          {512, 4, 1, 256, 3584, 4096},
          {512, 4, 1, 256, 519, 519, 100, kWindow, 512},
          {64, 4, 1, 256, 512, 1024},
          {512, 8, 4, 256},
          {512, 16, 8, 256},
          {512, 8, 1, 128},
          {512, 8, 1, 64}};
}

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_PREFILL_CASES_H_
