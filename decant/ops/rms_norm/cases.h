// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_RMS_NORM_CASES_H_
#define DECANT_OPS_RMS_NORM_CASES_H_

#include <cstdint>

namespace decant {

struct RmsNormCase {
  uint32_t rows, row_elems;
  bool bench;
};

// Around one vector and around the four of the unrolled sum on each target (4, 8, 16 lanes), and
// Gemma 3's widths.
inline constexpr RmsNormCase kRmsNormCases[] = {
    {1, 1, false},    {3, 1, false},   {3, 3, false},   {2, 4, false},   {3, 5, false},
    {2, 7, false},    {2, 8, false},   {2, 9, false},   {3, 15, false},  {1, 16, false},
    {3, 17, false},   {2, 31, false},  {2, 33, false},  {2, 63, false},  {2, 64, false},
    {2, 65, false},   {3, 127, false}, {3, 129, false}, {7, 639, false}, {1, 640, true},
    {1, 1152, true},  {1, 2560, true}, {1, 3840, true}, {1, 5376, true}, {5, 641, false},
    {512, 640, true}, {100, 21, false}};

}  // namespace decant

#endif  // DECANT_OPS_RMS_NORM_CASES_H_
