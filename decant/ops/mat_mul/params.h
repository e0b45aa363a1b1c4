// Shared by host and device code.
#ifndef DECANT_OPS_MAT_MUL_PARAMS_H_
#define DECANT_OPS_MAT_MUL_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

struct MatMulParams {
  uint32_t rows;
  uint32_t cols;
  uint32_t tokens;
  uint32_t group_rows;  // mat-vec: rows that one group computes, a multiple of 4
};
static_assert(sizeof(MatMulParams) == 16 && offsetof(MatMulParams, cols) == 4 &&
              offsetof(MatMulParams, tokens) == 8 && offsetof(MatMulParams, group_rows) == 12);

// Up to so many tokens the mat-vec kernels are the faster ones.
inline constexpr uint32_t kMatVecMaxTokens = 3;
// Mat-vec, scratch of a group for each 256 columns: sums of x over at most 16 sub-blocks, in f32.
inline constexpr uint32_t kMatVecChunkSums = 16;

// Mat-mul: a group computes so many rows for so many tokens.
inline constexpr uint32_t kMatMulGroupRows = 64;
inline constexpr uint32_t kMatMulGroupTokens = 256;
// Scratch of a group: at most 32 rows and 256 columns in f32.
inline constexpr uint32_t kMatMulSharedBytes = 32 * 256 * 4;

}  // namespace decant

#endif  // DECANT_OPS_MAT_MUL_PARAMS_H_
