// Shared by host and device code.
#ifndef DECANT_OPS_ADVANCE_PARAMS_H_
#define DECANT_OPS_ADVANCE_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

struct DecodeStep {
  uint32_t position;
  uint32_t token;
};
static_assert(sizeof(DecodeStep) == 8);
static_assert(offsetof(DecodeStep, position) == 0 && offsetof(DecodeStep, token) == 4);

}  // namespace decant

#endif  // DECANT_OPS_ADVANCE_PARAMS_H_
