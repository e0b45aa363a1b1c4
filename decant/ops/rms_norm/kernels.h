// The resolved kernels, for rms_norm.cc and fusions.cc.
#ifndef DECANT_OPS_RMS_NORM_KERNELS_H_
#define DECANT_OPS_RMS_NORM_KERNELS_H_

#include "decant/core/device.h"

namespace decant {

// Slots:                       0       1  2       3         4            5
struct RmsNormKernels {
  Kernel rms_norm;           // params, x, out
  Kernel rms_norm_weight;    // params, x, weight, out
  Kernel rms_norm_add;       // params, x, weight, residual
  Kernel rms_norm_add_norm;  // params, x, weight, residual, next_weight, out
  Kernel add_rms_norm;       // params, a, b,      sum,      weight,      out
};
const RmsNormKernels& rms_norm_kernels(const Device& device);

}  // namespace decant

#endif  // DECANT_OPS_RMS_NORM_KERNELS_H_
