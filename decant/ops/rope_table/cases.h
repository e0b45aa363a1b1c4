// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_ROPE_TABLE_CASES_H_
#define DECANT_OPS_ROPE_TABLE_CASES_H_

#include <cstdint>

namespace decant {

struct RopeTableCase {
  uint32_t tokens, pairs, position;
  double base, position_scale;
  bool bench;
};

// Gemma 3's two kinds of layers, its largest context, one group and its neighbours, odd sizes.
inline constexpr RopeTableCase kRopeTableCases[] = {
    {1, 128, 0, 1e4, 1, false},          {1, 128, 1, 1e4, 1, true},
    {1, 128, 131071, 1e4, 1, true},      {1, 128, 131071, 1e6, 0.125, false},
    {5, 64, 4294967291u, 1e6, 1, false}, {1, 1, 77, 1e4, 1, false},
    {3, 3, 1000, 5e5, 0.5, false},       {7, 128, 130000, 1e6, 1, false},
    {8, 128, 130000, 1e6, 1, false},     {9, 128, 130000, 1e6, 1, false},
    {1025, 1, 5, 1e4, 1, false},         {2, 1025, 5, 1e4, 1, false},
    {512, 128, 32256, 1e6, 1, true}};

}  // namespace decant

#endif  // DECANT_OPS_ROPE_TABLE_CASES_H_
