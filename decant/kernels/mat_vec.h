// Rows of a weight matrix of any format times one vector: the loop of all ops that decode a token.
#ifndef DECANT_KERNELS_MAT_VEC_H_
#define DECANT_KERNELS_MAT_VEC_H_

#include <cstddef>

#include "decant/core/dtype.h"

namespace decant::cpu {

struct MatVecRows {
  const std::byte* weight;  // of row 0; any alignment that the format allows
  size_t cols;
  size_t begin, end;  // rows to compute, at least one
  const float* x;     // [cols]
  float* out;         // [end - begin]
  float* scratch;     // mat_vec_scratch_floats(cols), not cleared
};

// out[i] = row (begin + i) . x. A row's sum depends on the row alone, not on what it is computed
// with. Throws UnsupportedDtype.
void mat_vec_rows(DType dtype, const MatVecRows& job);

// For each 256 columns: sums of x over at most 16 sub-blocks.
inline constexpr size_t kMatVecChunkSums = 16;
constexpr size_t mat_vec_scratch_floats(size_t cols) {
  return (cols + 255) / 256 * kMatVecChunkSums;
}

}  // namespace decant::cpu

#endif  // DECANT_KERNELS_MAT_VEC_H_
