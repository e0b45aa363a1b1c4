// Shared by host and device code.
#ifndef DECANT_OPS_RMS_NORM_PARAMS_H_
#define DECANT_OPS_RMS_NORM_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

struct RmsNormParams {
  uint32_t row_elems;
  float eps;
  float next_eps;  // of the second norm, where a kernel has two
};
static_assert(sizeof(RmsNormParams) == 12 && offsetof(RmsNormParams, row_elems) == 0 &&
              offsetof(RmsNormParams, eps) == 4 && offsetof(RmsNormParams, next_eps) == 8);

}  // namespace decant

#endif  // DECANT_OPS_RMS_NORM_PARAMS_H_
