// Sums and products, element by element.
#ifndef DECANT_OPS_ELEMENTWISE_ELEMENTWISE_H_
#define DECANT_OPS_ELEMENTWISE_ELEMENTWISE_H_

#include "decant/core/encoder.h"

namespace decant {

struct ElementwiseArgs {
  Buffer a;  // f32, any shape
  Buffer b;  // f32, as many elements as a, or as a's last axis: then each row of a meets the same b
  Buffer out;  // f32, as many elements as a; may be a itself, or b itself unless b repeats
};

// Record out = a + b and out = a * b, one rounding each. Throw InvalidArgument: a dtype other than
// f32, element counts that do not fit, out overlapping an operand without being it, buffers of
// another device.
void add(CommandEncoder& encoder, const ElementwiseArgs& args);
void mul(CommandEncoder& encoder, const ElementwiseArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_ELEMENTWISE_ELEMENTWISE_H_
