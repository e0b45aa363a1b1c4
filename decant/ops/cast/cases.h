// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_CAST_CASES_H_
#define DECANT_OPS_CAST_CASES_H_

#include <cstdint>

namespace decant {

struct CastCase {
  uint32_t elements;
  bool bench;
};

// Around one vector of each target (4, 8, 16 lanes) and around one group (4,096 elements).
inline constexpr CastCase kCastCases[] = {{1, false},  {3, false},    {4, false},    {5, false},
                                          {7, false},  {9, false},    {15, false},   {16, false},
                                          {17, false}, {4095, false}, {4096, false}, {4097, false},
                                          {640, true}, {262144, true}};

}  // namespace decant

#endif  // DECANT_OPS_CAST_CASES_H_
