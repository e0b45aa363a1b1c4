// Read by test.cc, bench.cc and `decant bench-op`.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_CASES_H_
#define DECANT_OPS_FLASH_ATTN_VEC_CASES_H_

#include <cstdint>
#include <vector>

#include "decant/kernels/attention.h"

namespace decant {

struct FlashAttnVecCase {
  uint32_t head_dim, num_heads, num_kv_heads, kv_seq_len;
  uint32_t kv_capacity;
  uint32_t ring_start = 0;
  AttnMask mask = AttnMask::kNone;
  uint32_t sliding_window = 0;
};

// Lengths around a block of 32, of 64, a part and a stride of the 32 workgroups (1,024); rings
// before, at and after the wrap; windows from one key to more than there are; short texts in long
// caches.
inline std::vector<FlashAttnVecCase> flash_attn_vec_cases() {
  std::vector<FlashAttnVecCase> cases;
  for (const uint32_t kv : {1u, 2u, 31u, 32u, 33u, 63u, 64u, 65u, 512u, 1023u, 1024u, 1025u}) {
    cases.push_back({256, 4, 1, kv, kv});
    cases.push_back({256, 8, 4, kv, kv + 7});
    cases.push_back({128, 6, 2, kv, kv + 100, 0, AttnMask::kCausal});
    cases.push_back({64, 16, 2, kv, kv + 1, 0, AttnMask::kSlidingWindow, 31});
  }
  for (const uint32_t window : {1u, 31u, 32u, 33u, 512u, 513u, 519u, 4000u})
    for (const uint32_t start : {0u, 1u, 31u, 32u, 300u, 518u})
      cases.push_back({256, 4, 1, 519, 519, start, AttnMask::kSlidingWindow, window});
  for (const uint32_t start : {0u, 1u, 5u, 39u}) {
    cases.push_back({128, 16, 8, 40, 40, start, AttnMask::kSlidingWindow, 33});
    cases.push_back({64, 3, 1, 40, 40, start, AttnMask::kNone, 0});
  }
  cases.push_back({256, 16, 8, 700, 5000});
  for (const uint32_t kv : {1u, 127u, 128u, 255u, 256u, 2047u, 2048u})
    cases.push_back({64, 4, 1, kv, 20000});
  cases.push_back({256, 16, 2, 2100, 9000, 0, AttnMask::kSlidingWindow, 1024});
  cases.push_back({64, 71, 1, 333, 400});
  cases.push_back({128, 32, 8, 1500, 1500, 1499, AttnMask::kNone, 0});
  // For GPUs: parts of many steps, more KV heads than a GPU has blocks resident, clusters of
  // either size.
  cases.push_back({256, 4, 1, 9001, 9001, 4567, AttnMask::kNone, 0});
  cases.push_back({256, 12, 2, 9001, 9001, 17, AttnMask::kSlidingWindow, 8000});
  cases.push_back({64, 150, 150, 130, 140});
  cases.push_back({256, 16, 8, 600, 640});
  cases.push_back({128, 10, 1, 1000, 1024});
  return cases;
}

// head_dim, query heads, KV heads, keys: the rows of the README's tables.
inline constexpr uint32_t kFlashAttnVecBench[][4] = {
    {256, 4, 1, 512},   {256, 8, 4, 512},    {256, 16, 8, 512},   {256, 4, 1, 4096},
    {256, 16, 8, 4096}, {256, 4, 1, 32768},  {256, 16, 2, 32768}, {256, 32, 2, 10000},
    {128, 32, 8, 4096}, {128, 32, 32, 4096}, {64, 64, 8, 7680}};
inline constexpr uint32_t kFlashAttnVecGpuBench[][4] = {
    {256, 4, 1, 512},    {256, 8, 4, 512},   {256, 16, 8, 512},   {256, 4, 1, 4096},
    {256, 16, 8, 4096},  {256, 4, 1, 32768}, {256, 16, 2, 32768}, {256, 4, 1, 131072},
    {128, 32, 8, 32768}, {64, 64, 8, 32768}, {256, 16, 8, 32768}, {256, 16, 8, 131072}};

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_VEC_CASES_H_
