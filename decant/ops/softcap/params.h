// Shared by host and device code.
#ifndef DECANT_OPS_SOFTCAP_PARAMS_H_
#define DECANT_OPS_SOFTCAP_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct SoftcapParams {
  uint32_t elements;
  float cap;
};
static_assert(sizeof(SoftcapParams) == 8 && offsetof(SoftcapParams, elements) == 0 &&
              offsetof(SoftcapParams, cap) == 4);

// Elements that one group computes.
DECANT_CONSTANT uint32_t kSoftcapGroupElements = 4096;

}  // namespace decant

#endif  // DECANT_OPS_SOFTCAP_PARAMS_H_
