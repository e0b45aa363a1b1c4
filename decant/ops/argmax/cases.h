// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_ARGMAX_CASES_H_
#define DECANT_OPS_ARGMAX_CASES_H_

#include <cstdint>

namespace decant {

struct ArgmaxCase {
  uint32_t rows;
  uint32_t row_elems;
  bool bench;
};

// Around one vector of each target (4, 8, 16 lanes), one block (1,024), one chunk (16,384), and
// Gemma 3's vocabularies.
inline constexpr ArgmaxCase kArgmaxCases[] = {
    {1, 1, false},     {3, 3, false},     {2, 4, false},       {2, 5, false},     {2, 15, false},
    {2, 16, false},    {300, 17, false},  {2, 1023, false},    {2, 1024, false},  {2, 1025, false},
    {2, 16383, false}, {3, 16384, false}, {257, 16385, false}, {2, 50000, false}, {1, 262144, true},
    {1, 262208, true}, {8, 262144, true}};

}  // namespace decant

#endif  // DECANT_OPS_ARGMAX_CASES_H_
