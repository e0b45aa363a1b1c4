// Rows of a weight matrix in a block format, or in one of block_formats/x16.h, times one vector
// rounded to 8 bits: mat_vec.h with integer products.
#ifndef DECANT_KERNELS_MAT_VEC_Q8_H_
#define DECANT_KERNELS_MAT_VEC_Q8_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/dtype.h"
#include "decant/kernels/block_formats/q8_row.h"

namespace decant::cpu {

// to[0, q8_chunks(cols)) := x[0, cols) rounded, with cols a multiple of 32.
void round_to_q8(const float* x, size_t cols, Q8Chunk* to);

// The same and, in to[q8_chunks(cols), 2 q8_chunks(cols)), what that left over, rounded in the same
// way: 16 bits in all.
void round_to_q16(const float* x, size_t cols, Q8Chunk* to);

struct MatVecRowsQ8 {
  const std::byte* weight;  // of row 0; any alignment that the format allows
  size_t cols;
  size_t begin, end;  // rows to compute, at least one; multiples of 16 for x16 formats
  const Q8Chunk* x;   // as round_to_q8 leaves it or, with two terms, round_to_q16
  float* out;         // [end - begin]

  // --- For x16 formats alone.
  uint32_t terms = 1;  // or two
  // The same rows of another matrix of this dtype and number of columns, and their results: both
  // matrices are walked side by side.
  const std::byte* other_weight = nullptr;
  float* other_out = nullptr;
};

// out[i] = row (begin + i) . x. A row's sum depends on the row alone, not on what it is computed
// with. Throws UnsupportedDtype for another dtype.
void mat_vec_rows_q8(DType dtype, const MatVecRowsQ8& job);   // block formats
void mat_vec_rows_x16(DType dtype, const MatVecRowsQ8& job);  // x16 formats

}  // namespace decant::cpu

#endif  // DECANT_KERNELS_MAT_VEC_Q8_H_
