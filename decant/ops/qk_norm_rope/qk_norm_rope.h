// What Gemma 3 does to each head of q and k between projection and attention: RMS norm, then RoPE.
#ifndef DECANT_OPS_QK_NORM_ROPE_QK_NORM_ROPE_H_
#define DECANT_OPS_QK_NORM_ROPE_QK_NORM_ROPE_H_

#include "decant/core/encoder.h"

namespace decant {

// For each token and head, with D = head_dim:
//
//   y = x / sqrt(mean(x^2) + eps) * weight
//   out[i]       = y[i] cos[i]       - y[i + D/2] sin[i]         for i < D/2
//   out[i + D/2] = y[i + D/2] cos[i] + y[i] sin[i]
//
// The rotation pairs the halves of a head, as GPT-NeoX does (not neighbours, as GPT-J).
struct QkNormRopeArgs {
  Buffer x;       // f32 [n, num_heads, D]
  Buffer weight;  // f32 [D]
  Buffer rope;    // f32 [n, 2, D/2]: cosines, then sines, of each token (see ops/rope_table)
  Buffer out;     // f32 or f16 [n, num_heads, D]; an f32 out may be x itself
  float eps;
};

// Records the op. f16 results are rounded to nearest even. Throws InvalidArgument: another dtype,
// x without three axes or with an odd D, shapes that do not fit x's, eps not a positive finite
// number, out overlapping an operand (but for x itself), buffers of another device.
void qk_norm_rope(CommandEncoder& encoder, const QkNormRopeArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_QK_NORM_ROPE_QK_NORM_ROPE_H_
