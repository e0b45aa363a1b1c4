// Shared by host and device code.
#ifndef DECANT_OPS_GELU_MUL_PARAMS_H_
#define DECANT_OPS_GELU_MUL_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct GeluMulParams {
  uint32_t elements;
};
static_assert(sizeof(GeluMulParams) == 4 && offsetof(GeluMulParams, elements) == 0);

// Elements that one group computes.
DECANT_CONSTANT uint32_t kGeluMulGroupElements = 1024;

}  // namespace decant

#endif  // DECANT_OPS_GELU_MUL_PARAMS_H_
