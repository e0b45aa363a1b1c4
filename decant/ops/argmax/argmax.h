// The index of each row's greatest element: greedy decoding.
#ifndef DECANT_OPS_ARGMAX_ARGMAX_H_
#define DECANT_OPS_ARGMAX_ARGMAX_H_

#include "decant/core/encoder.h"

namespace decant {

// Of equal elements (-0 equals +0) the lowest index wins. A NaN never wins, unless all are NaN:
// then the index is 0.
struct ArgmaxArgs {
  Buffer x;    // f32 [n, d] or [d], d < 2^31
  Buffer out;  // i32 [n]
};

// Records the op. Throws InvalidArgument: another dtype, shapes that do not fit, an empty x, out
// overlapping x, buffers of another device.
void argmax(CommandEncoder& encoder, const ArgmaxArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_ARGMAX_ARGMAX_H_
