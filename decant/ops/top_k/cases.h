// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_TOP_K_CASES_H_
#define DECANT_OPS_TOP_K_CASES_H_

#include <cstdint>

namespace decant {

struct TopKCase {
  uint32_t elements;
  uint32_t k;
  bool bench;
};

// k around 1, all, and the largest k that chunks select for (256); lengths around one vector, one
// block (64), one chunk (16,384) and Gemma 3's vocabularies.
inline constexpr TopKCase kTopKCases[] = {
    {1, 1, false},        {2, 1, false},         {2, 2, false},         {17, 5, false},
    {63, 63, false},      {64, 1, false},        {65, 40, false},       {1000, 999, false},
    {1000, 1000, false},  {16383, 40, false},    {16384, 256, false},   {16384, 257, false},
    {16385, 1, false},    {16385, 40, false},    {16400, 16400, false}, {50000, 255, false},
    {50000, 256, false},  {50000, 257, false},   {50000, 16384, false}, {50000, 20000, false},
    {262144, 1, true},    {262144, 40, true},    {262144, 256, true},   {262208, 40, true},
    {262144, 1000, true}, {262144, 262144, true}};

}  // namespace decant

#endif  // DECANT_OPS_TOP_K_CASES_H_
