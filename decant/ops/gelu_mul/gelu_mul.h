// out = gelu(gate) * up, element by element: the gated activation of Gemma's feed-forward network.
#ifndef DECANT_OPS_GELU_MUL_GELU_MUL_H_
#define DECANT_OPS_GELU_MUL_GELU_MUL_H_

#include "decant/core/encoder.h"

namespace decant {

// gelu is the tanh approximation of Hendrycks and Gimpel (arXiv 1606.08415):
// 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
struct GeluMulArgs {
  Buffer gate;  // f32, any shape
  Buffer up;    // f32, as many elements as gate
  Buffer out;   // f32, as many elements; may be gate or up itself
};

// Records the op. Throws InvalidArgument: a dtype other than f32, different element counts, out
// overlapping an input without being it, buffers of another device.
void gelu_mul(CommandEncoder& encoder, const GeluMulArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_GELU_MUL_GELU_MUL_H_
