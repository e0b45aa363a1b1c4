// Which pairs of dispatches around a norm a graph may replace by one.
#ifndef DECANT_OPS_RMS_NORM_FUSIONS_H_
#define DECANT_OPS_RMS_NORM_FUSIONS_H_

#include "decant/core/kernel_registry.h"

namespace decant {

void add_rms_norm_fusions(KernelRegistry& registry);

}  // namespace decant

#endif  // DECANT_OPS_RMS_NORM_FUSIONS_H_
