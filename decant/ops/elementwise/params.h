// Shared by host and device code.
#ifndef DECANT_OPS_ELEMENTWISE_PARAMS_H_
#define DECANT_OPS_ELEMENTWISE_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct ElementwiseParams {
  uint32_t elements;
  uint32_t b_elements;  // of b, which repeats: equal to `elements`, or one row
};
static_assert(sizeof(ElementwiseParams) == 8 && offsetof(ElementwiseParams, elements) == 0 &&
              offsetof(ElementwiseParams, b_elements) == 4);

// Elements that one group computes.
DECANT_CONSTANT uint32_t kElementwiseGroupElements = 4096;

}  // namespace decant

#endif  // DECANT_OPS_ELEMENTWISE_PARAMS_H_
