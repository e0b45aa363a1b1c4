// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_SOFTCAP_CASES_H_
#define DECANT_OPS_SOFTCAP_CASES_H_

#include <cstdint>

namespace decant {

struct SoftcapCase {
  uint32_t elements;
  bool bench;
};

// Around one vector of each target (4, 8, 16 lanes), around one group, and Gemma 3's vocabularies.
inline constexpr SoftcapCase kSoftcapCases[] = {
    {1, false},     {3, false},     {4, false},    {5, false},    {15, false},
    {16, false},    {17, false},    {4095, false}, {4096, false}, {4097, false},
    {10000, false}, {262144, true}, {262208, true}};

}  // namespace decant

#endif  // DECANT_OPS_SOFTCAP_CASES_H_
