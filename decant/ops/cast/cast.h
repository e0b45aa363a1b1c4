// Conversions between f32, f16 and bf16.
#ifndef DECANT_OPS_CAST_CAST_H_
#define DECANT_OPS_CAST_CAST_H_

#include "decant/core/encoder.h"

namespace decant {

// Values are rounded once, to nearest even; what is too large becomes an infinity of its sign, NaN
// stays NaN, and widening is exact.
struct CastArgs {
  Buffer x;    // f32, f16 or bf16, any shape
  Buffer out;  // f32, f16 or bf16, as many elements
};

// Records the op. Throws InvalidArgument: another dtype, different element counts, out overlapping
// x, buffers of another device.
void cast(CommandEncoder& encoder, const CastArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_CAST_CAST_H_
