// Shared by host and device code.
#ifndef DECANT_OPS_TOP_K_PARAMS_H_
#define DECANT_OPS_TOP_K_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct TopKParams {
  uint32_t elements;
  uint32_t k;
  uint32_t candidates;  // keys that each chunk hands on; missing ones are 0
};
static_assert(sizeof(TopKParams) == 12 && offsetof(TopKParams, elements) == 0 &&
              offsetof(TopKParams, k) == 4 && offsetof(TopKParams, candidates) == 8);

// Up to here each chunk hands on its k best; above, all of it.
DECANT_CONSTANT uint32_t kTopKSelectMax = 256;

}  // namespace decant

#endif  // DECANT_OPS_TOP_K_PARAMS_H_
