// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_GELU_MUL_CASES_H_
#define DECANT_OPS_GELU_MUL_CASES_H_

#include <cstdint>

namespace decant {

struct GeluMulCase {
  uint32_t elements;
  bool bench;
};

// Around one vector of each target (4, 8, 16 lanes), around one group, and Gemma 3's widths.
inline constexpr GeluMulCase kGeluMulCases[] = {
    {1, false},    {3, false},    {4, false},    {5, false},    {15, false},      {16, false},
    {17, false},   {1023, false}, {1024, false}, {1025, false}, {2048, true},     {6912, true},
    {10240, true}, {21504, true}, {2049, false}, {5000, false}, {2048 * 64, true}};

}  // namespace decant

#endif  // DECANT_OPS_GELU_MUL_CASES_H_
