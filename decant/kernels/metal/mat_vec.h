// Four rows of a weight matrix times one vector by one simdgroup: the loop of all ops that decode a
// token. Eight columns a lane at a time: the eight activations a lane reads serve four rows, and
// 256 columns, a block of the k formats, are four independent loads of 4 to 32 bytes a lane.
#ifndef DECANT_KERNELS_METAL_MAT_VEC_H_
#define DECANT_KERNELS_METAL_MAT_VEC_H_

#include <metal_stdlib>

#include "decant/kernels/metal/weights.h"

namespace decant {

constant constexpr uint kMatVecRows = 4;

// x[i, i + 8), in device or threadgroup memory; zeros past the end.
template <class X>
void load_activations8(X x, uint i, uint cols, thread float* to) {
  for (uint t = 0; t < 8; ++t) to[t] = i + t < cols ? x[i + t] : 0.0f;
}

// Rows [first_row, first_row + 4) times x; every lane gets them. Past the end they repeat the last
// row.
template <class Row, class X>
metal::float4 mat_vec_rows(device const uchar* weight, uint first_row, uint num_rows, uint cols,
                           X x, uint lane) {
  device const uchar* rows[kMatVecRows];
  for (uint r = 0; r < kMatVecRows; ++r)
    rows[r] = weight + metal::min(first_row + r, num_rows - 1) * Row::bytes(cols);
  float sums[kMatVecRows] = {0, 0, 0, 0};
  for (uint i = lane * 8; i < cols; i += 256) {
    float a[8];
    load_activations8(x, i, cols, a);
    for (uint r = 0; r < kMatVecRows; ++r) {
      float w[8];
      Row::load8(rows[r], i, cols, w);
      for (uint t = 0; t < 8; ++t) sums[r] = metal::fma(w[t], a[t], sums[r]);
    }
  }
  return metal::simd_sum(metal::float4(sums[0], sums[1], sums[2], sums[3]));
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_MAT_VEC_H_
