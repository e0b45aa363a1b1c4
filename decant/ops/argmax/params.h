// Shared by host and device code.
#ifndef DECANT_OPS_ARGMAX_PARAMS_H_
#define DECANT_OPS_ARGMAX_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct ArgmaxParams {
  uint32_t rows;
  uint32_t row_elems;
};
static_assert(sizeof(ArgmaxParams) == 8 && offsetof(ArgmaxParams, rows) == 0 &&
              offsetof(ArgmaxParams, row_elems) == 4);

// Rows that one group of the second stage finishes.
DECANT_CONSTANT uint32_t kArgmaxMergeRows = 256;

}  // namespace decant

#endif  // DECANT_OPS_ARGMAX_PARAMS_H_
