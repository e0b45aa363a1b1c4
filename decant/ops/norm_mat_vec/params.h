// Shared by host and device code.
#ifndef DECANT_OPS_NORM_MAT_VEC_PARAMS_H_
#define DECANT_OPS_NORM_MAT_VEC_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

DECANT_CONSTANT uint32_t kNormMatVecWeights = 3;
DECANT_CONSTANT uint32_t kNormMatVecLater = 4;

// Slots: 0 params, 1 x, 2 delta, 3 delta_weight, 4 x_out, 5 norm_weight, 6 to 8 weights, 9 to 11
// outs. An argument that was not given is 8 bytes of zeros. On CUDA also 12 NormMatVecLater, and 13
// to 16 what that speaks of.
struct NormMatVecParams {
  uint32_t cols;
  float eps;
  uint32_t has_delta;
  uint32_t gelu_mul;  // Combine
  // For each weight, all 0 where there is none.
  uint32_t rows[kNormMatVecWeights];
  uint32_t dtype[kNormMatVecWeights];       // DType
  uint32_t group_rows[kNormMatVecWeights];  // rows that a group computes
};
static_assert(sizeof(NormMatVecParams) == 52);
static_assert(offsetof(NormMatVecParams, cols) == 0);
static_assert(offsetof(NormMatVecParams, eps) == 4);
static_assert(offsetof(NormMatVecParams, has_delta) == 8);
static_assert(offsetof(NormMatVecParams, gelu_mul) == 12);
static_assert(offsetof(NormMatVecParams, rows) == 16);
static_assert(offsetof(NormMatVecParams, dtype) == 28);
static_assert(offsetof(NormMatVecParams, group_rows) == 40);

// Bytes of each buffer that later dispatches will read.
struct NormMatVecLater {
  uint32_t bytes[kNormMatVecLater];
};
static_assert(sizeof(NormMatVecLater) == 16);

}  // namespace decant

#endif  // DECANT_OPS_NORM_MAT_VEC_PARAMS_H_
