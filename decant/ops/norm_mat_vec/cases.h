// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_NORM_MAT_VEC_CASES_H_
#define DECANT_OPS_NORM_MAT_VEC_CASES_H_

#include <array>
#include <cstdint>

#include "decant/core/dtype.h"

namespace decant {

struct NormMatVecCase {
  uint32_t cols;
  std::array<uint32_t, 3> rows;  // 0: no weight
  std::array<DType, 3> dtypes;
  bool gelu_mul;
  bool delta;
};

// Columns of a part of a vector, one block, one chunk and part of one, and Gemma 3's; rows around
// the kernel's four and a group's; every place of a weight in every mixture.
inline constexpr NormMatVecCase kNormMatVecCases[] = {
    {1, {1, 0, 0}, {DType::kF32, {}, {}}, false, false},
    {17, {3, 5, 1}, {DType::kF32, DType::kF16, DType::kBF16}, false, true},
    {100, {7, 7, 0}, {DType::kBF16, DType::kF32, {}}, true, true},
    {32, {4, 1, 9}, {DType::kQ4_0, DType::kQ4_1, DType::kQ5_0}, false, false},
    {288, {5, 33, 2}, {DType::kQ5_1, DType::kQ8_0, DType::kQ5_0}, false, true},
    {256, {65, 3, 16}, {DType::kQ2_K, DType::kQ3_K, DType::kQ4_K}, false, true},
    {768, {17, 64, 0}, {DType::kQ5_K, DType::kQ6_K, {}}, false, false},
    {512, {70, 70, 0}, {DType::kQ4_K, DType::kQ6_K, {}}, true, false},
    {640, {301, 301, 0}, {DType::kQ5_0, DType::kQ8_0, {}}, true, true},
    {640, {1024, 256, 256}, {DType::kQ5_0, DType::kQ5_0, DType::kQ8_0}, false, true},
    {1152, {333, 0, 0}, {DType::kQ8_0, {}, {}}, false, true},
};

// Weights that pack_weights takes, alone and beside others.
inline constexpr NormMatVecCase kNormMatVecPackedCases[] = {
    {640, {1024, 256, 256}, {DType::kQ5_0, DType::kQ5_0, DType::kQ8_0}, false, true},
    {640, {320, 320, 0}, {DType::kQ5_0, DType::kQ8_0, {}}, true, true},
    {256, {48, 48, 0}, {DType::kQ4_0, DType::kQ6_K, {}}, true, false},
    {32, {16, 5, 64}, {DType::kQ4_0, DType::kQ5_0, DType::kF16}, false, false},
    {1152, {272, 0, 0}, {DType::kQ8_0, {}, {}}, false, true},
};

// A step of Gemma 3 270M as its Q4_K_M file has it: q, k and v; gate and up; the head.
inline constexpr NormMatVecCase kNormMatVecBenches[] = {
    {640, {1024, 256, 256}, {DType::kQ5_0, DType::kQ5_0, DType::kQ8_0}, false, true},
    {640, {2048, 2048, 0}, {DType::kQ5_0, DType::kQ5_0, {}}, true, true},
    {640, {262144, 0, 0}, {DType::kQ8_0, {}, {}}, false, true},
};

}  // namespace decant

#endif  // DECANT_OPS_NORM_MAT_VEC_CASES_H_
