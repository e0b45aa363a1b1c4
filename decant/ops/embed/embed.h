// out[i] = scale * table[ids[i]]: the rows of an embedding table for a list of token ids.
#ifndef DECANT_OPS_EMBED_EMBED_H_
#define DECANT_OPS_EMBED_EMBED_H_

#include "decant/core/encoder.h"

namespace decant {

struct EmbedArgs {
  Buffer table;  // [vocab, hidden]: f32, f16, bf16, or q4_0 to q8_0 or q2_k to q6_k
  Buffer ids;    // i32 [n]
  Buffer out;    // f32 [n, hidden]
  float scale = 1;
};

// Records the op. Rows are decoded to f32, then multiplied by `scale` in f32. The ids are read when
// the op runs, so they cannot be checked before: the row of an id outside [0, vocab) is filled with
// NaN, and no memory outside the table is read.
//
// Throws UnsupportedDtype for a table of another dtype; InvalidArgument for other dtypes or shapes
// that do not fit, out overlapping an input, buffers of another device.
void embed(CommandEncoder& encoder, const EmbedArgs& args);
void validate(const EmbedArgs& args);  // what embed() checks first

}  // namespace decant

#endif  // DECANT_OPS_EMBED_EMBED_H_
