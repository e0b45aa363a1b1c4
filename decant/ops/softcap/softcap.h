// out = cap * tanh(x / cap): keeps logits within (-cap, cap).
#ifndef DECANT_OPS_SOFTCAP_SOFTCAP_H_
#define DECANT_OPS_SOFTCAP_SOFTCAP_H_

#include "decant/core/encoder.h"

namespace decant {

// Gemma 2 caps its final logits so (arXiv 2408.00118, section 2); Gemma 3 files may still ask for
// it. A NaN stays NaN, an infinity becomes +-cap.
struct SoftcapArgs {
  Buffer x;    // f32, any shape
  Buffer out;  // f32, as many elements; may be x itself
  float cap;   // finite, > 0
};

// Records the op. Throws InvalidArgument: a dtype other than f32, different element counts, a cap
// that is not positive and finite, out overlapping x without being it, buffers of another device.
void softcap(CommandEncoder& encoder, const SoftcapArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_SOFTCAP_SOFTCAP_H_
