// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_QK_NORM_ROPE_CASES_H_
#define DECANT_OPS_QK_NORM_ROPE_CASES_H_

#include <cstdint>

namespace decant {

struct QkNormRopeCase {
  uint32_t tokens, num_heads, head_dim;
  bool bench;
};

// Half heads around one vector of each target (4, 8, 16 lanes), rows around one group (4,096
// elements), and Gemma 3's heads.
inline constexpr QkNormRopeCase kQkNormRopeCases[] = {
    {1, 1, 2, false},   {3, 2, 6, false},    {2, 3, 8, false},    {2, 1, 10, false},
    {1, 2, 14, false},  {1, 2, 16, false},   {3, 1, 18, false},   {2, 2, 30, false},
    {2, 2, 32, false},  {2, 2, 34, false},   {3, 5, 80, false},   {5, 3, 256, false},
    {4, 4, 256, false}, {17, 1, 256, false}, {2, 1, 4098, false}, {70, 3, 128, false},
    {1, 1, 256, true},  {1, 4, 256, true},   {1, 32, 128, true},  {512, 4, 256, true}};

}  // namespace decant

#endif  // DECANT_OPS_QK_NORM_ROPE_CASES_H_
