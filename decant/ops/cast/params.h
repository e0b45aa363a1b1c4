// Shared by host and device code.
#ifndef DECANT_OPS_CAST_PARAMS_H_
#define DECANT_OPS_CAST_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

enum class CastType : uint32_t { kF32 = 0, kF16 = 1, kBF16 = 2 };

struct CastParams {
  uint64_t elements;
  CastType from;
  CastType to;
};
static_assert(sizeof(CastParams) == 16 && offsetof(CastParams, elements) == 0 &&
              offsetof(CastParams, from) == 8 && offsetof(CastParams, to) == 12);

// Elements that one group converts.
DECANT_CONSTANT uint32_t kCastGroupElements = 4096;

}  // namespace decant

#endif  // DECANT_OPS_CAST_PARAMS_H_
