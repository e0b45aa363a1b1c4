// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_MAT_MUL_CASES_H_
#define DECANT_OPS_MAT_MUL_CASES_H_

#include <cstdint>

#include "decant/core/dtype.h"

namespace decant {

struct MatMulShape {
  uint32_t rows, cols;
};

// Rows around a mat-vec's four and a mat-mul's strip (8, 16, 32) and group (64); columns of one
// block, one chunk and part of one, and Gemma 3's widths. Used where the format's blocks fit.
inline constexpr MatMulShape kMatMulShapes[] = {
    {1, 32},  {3, 64},   {4, 256},  {5, 288},  {17, 640},  {33, 1024}, {65, 512},
    {6, 768}, {9, 2048}, {2, 1152}, {7, 2560}, {130, 256}, {2, 6912},  {64, 320}};
// For f32, f16 and bf16.
inline constexpr MatMulShape kMatMulPlainShapes[] = {{1, 1},   {2, 3},   {5, 15},  {7, 17},
                                                     {4, 255}, {9, 257}, {35, 100}};
// Around the largest mat-vec, one tile (6, 12), and several with a rest.
inline constexpr uint32_t kMatMulTokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 33, 64};

struct MatMulBench {
  DType dtype;
  uint32_t rows, cols, tokens;
};

// The projections of Gemma 3 270M as its Q4_K_M file has them, the head last; the other formats;
// prompts.
inline constexpr MatMulBench kMatMulBenches[] = {
    {DType::kQ5_0, 1024, 640, 1},   {DType::kQ8_0, 256, 640, 1},    {DType::kQ4_K, 640, 1024, 1},
    {DType::kQ5_0, 2048, 640, 1},   {DType::kQ4_K, 640, 2048, 1},   {DType::kQ6_K, 640, 2048, 1},
    {DType::kQ8_0, 2048, 640, 1},   {DType::kF16, 2048, 640, 1},    {DType::kQ8_0, 262144, 640, 1},
    {DType::kQ4_0, 384, 2048, 1},   {DType::kQ4_1, 384, 2048, 1},   {DType::kQ5_0, 384, 2048, 1},
    {DType::kQ5_1, 384, 2048, 1},   {DType::kQ8_0, 384, 2048, 1},   {DType::kQ2_K, 384, 2048, 1},
    {DType::kQ3_K, 384, 2048, 1},   {DType::kQ4_K, 384, 2048, 1},   {DType::kQ5_K, 384, 2048, 1},
    {DType::kQ6_K, 384, 2048, 1},   {DType::kQ5_0, 2048, 640, 2},   {DType::kQ5_0, 2048, 640, 3},
    {DType::kQ5_0, 2048, 640, 4},   {DType::kQ5_0, 2048, 640, 5},   {DType::kQ5_0, 2048, 640, 8},
    {DType::kQ5_0, 2048, 640, 16},  {DType::kQ5_0, 2048, 640, 64},  {DType::kQ5_0, 2048, 640, 512},
    {DType::kQ4_K, 640, 2048, 512}, {DType::kQ6_K, 640, 2048, 512}, {DType::kQ8_0, 2048, 640, 512},
    {DType::kF32, 2048, 640, 512},
};

}  // namespace decant

#endif  // DECANT_OPS_MAT_MUL_CASES_H_
