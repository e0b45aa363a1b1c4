// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_KV_APPEND_CASES_H_
#define DECANT_OPS_KV_APPEND_CASES_H_

#include <cstdint>

namespace decant {

struct KvAppendCase {
  uint32_t tokens, num_kv_heads, head_dim, kv_capacity, position;
  bool ring;
  bool bench;
};

// One token and many, at the start, at the end, across the wrap of a ring, more than a ring holds;
// head sizes around the vectors, rows around one group.
inline constexpr KvAppendCase kKvAppendCases[] = {
    {1, 1, 1, 1, 0, false, false},        {1, 1, 1, 1, 7, true, false},
    {3, 2, 3, 4, 1, false, false},        {3, 2, 5, 4, 3, true, false},
    {4, 1, 8, 4, 0, false, false},        {4, 3, 17, 4, 2, true, false},
    {9, 2, 16, 4, 6, true, false},        {8, 2, 15, 4, 0, true, false},
    {1, 2, 33, 519, 518, false, false},   {1, 2, 64, 519, 4294967295u, true, false},
    {7, 3, 256, 16, 9, false, false},     {8, 1, 256, 519, 515, true, false},
    {9, 1, 256, 519, 515, true, false},   {2, 1, 2049, 3, 2, true, false},
    {600, 2, 40, 519, 100, true, false},  {1, 1, 256, 519, 1000, true, true},
    {1, 8, 128, 4096, 1000, false, true}, {512, 1, 256, 4096, 2048, false, true}};

}  // namespace decant

#endif  // DECANT_OPS_KV_APPEND_CASES_H_
