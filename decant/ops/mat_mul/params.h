// Shared by host and device code.
#ifndef DECANT_OPS_MAT_MUL_PARAMS_H_
#define DECANT_OPS_MAT_MUL_PARAMS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"
#if !defined(__METAL_VERSION__)
#include "decant/kernels/block_formats/q8_row.h"
#endif

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
DECANT_CONSTANT uint32_t kMatVecMaxTokens = 3;

// Mat-mul: a group computes so many rows for so many tokens.
DECANT_CONSTANT uint32_t kMatMulGroupRows = 64;
DECANT_CONSTANT uint32_t kMatMulGroupTokens = 256;
// Scratch of a group: at most 32 rows and 256 columns in f32.
DECANT_CONSTANT uint32_t kMatMulSharedBytes = 32 * 256 * 4;

// Metal: mat-vec, rows of a group of two simdgroups; mat-mul, rows and tokens of a group.
DECANT_CONSTANT uint32_t kMatVecMetalRows = 8;
DECANT_CONSTANT uint32_t kMatMulMetalTile = 32;

#if !defined(__METAL_VERSION__)
// Mat-mul with activations rounded to 8 bits: a group takes up to 64 tokens and 64 rows, and so
// much scratch for the rounded tokens and the unpacked rows that both stay in L2.
inline constexpr uint32_t kMatMulQ8TileRows = 4;
inline constexpr uint32_t kMatMulQ8PanelBytes = 3;  // for a weight, at most
constexpr uint32_t mat_mul_q8_tokens(uint32_t cols) {
  const size_t fit = (384 << 10) / q8_bytes(cols) / 4 * 4;
  return static_cast<uint32_t>(std::clamp<size_t>(fit, 4, 64));
}
constexpr uint32_t mat_mul_q8_rows(uint32_t cols) {
  const size_t fit = (384 << 10) / kMatMulQ8PanelBytes / (q8_chunks(cols) * 256) / 4 * 4;
  return static_cast<uint32_t>(std::clamp<size_t>(fit, 4, 64));
}
constexpr size_t mat_mul_q8_scratch_bytes(uint32_t cols) {
  return 64 + mat_mul_q8_tokens(cols) * q8_bytes(cols) +
         size_t{mat_mul_q8_rows(cols)} * q8_chunks(cols) * 256 * kMatMulQ8PanelBytes;
}
#endif

}  // namespace decant

#endif  // DECANT_OPS_MAT_MUL_PARAMS_H_
