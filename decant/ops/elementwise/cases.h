// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_ELEMENTWISE_CASES_H_
#define DECANT_OPS_ELEMENTWISE_CASES_H_

#include <cstdint>

namespace decant {

struct ElementwiseCase {
  uint32_t rows, columns;
  bool bench;
};

// Around one vector of each target (4, 8, 16 lanes), around one group (4,096 elements), rows that
// straddle groups, and Gemma 3's widths.
inline constexpr ElementwiseCase kElementwiseCases[] = {
    {1, 1, false},    {5, 1, false},    {1, 3, false},     {3, 4, false},     {3, 5, false},
    {7, 15, false},   {2, 16, false},   {300, 17, false},  {1, 4095, false},  {1, 4096, false},
    {1, 4097, false}, {3, 2731, false}, {17, 1023, false}, {513, 640, false}, {1, 640, true},
    {1, 5376, true},  {512, 640, true}};

}  // namespace decant

#endif  // DECANT_OPS_ELEMENTWISE_CASES_H_
