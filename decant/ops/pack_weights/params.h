#ifndef DECANT_OPS_PACK_WEIGHTS_PARAMS_H_
#define DECANT_OPS_PACK_WEIGHTS_PARAMS_H_

#include <cstdint>

namespace decant {

// Slots: 0 params, 1 weight, 2 out. A group packs sixteen rows.
struct PackWeightsParams {
  uint32_t blocks;  // of a row
};
static_assert(sizeof(PackWeightsParams) == 4);

}  // namespace decant

#endif  // DECANT_OPS_PACK_WEIGHTS_PARAMS_H_
