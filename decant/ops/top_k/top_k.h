// The k greatest elements, in order.
#ifndef DECANT_OPS_TOP_K_TOP_K_H_
#define DECANT_OPS_TOP_K_TOP_K_H_

#include "decant/core/encoder.h"

namespace decant {

// Descending; of equal elements (-0 equals +0) the lower index comes first; NaNs come last. values
// are the elements themselves. k is the length of `ids`.
struct TopKArgs {
  Buffer x;       // f32, any shape, fewer than 2^31 elements
  Buffer values;  // f32 [k], 1 <= k <= elements of x
  Buffer ids;     // i32 [k]
};

// Records the op. Throws InvalidArgument: another dtype, k out of range, values and ids of
// different lengths, buffers that overlap or belong to another device.
void top_k(CommandEncoder& encoder, const TopKArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_TOP_K_TOP_K_H_
