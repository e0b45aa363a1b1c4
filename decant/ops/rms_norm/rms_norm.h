// Root-mean-square normalisation of rows, alone and with the residual additions around it.
#ifndef DECANT_OPS_RMS_NORM_RMS_NORM_H_
#define DECANT_OPS_RMS_NORM_RMS_NORM_H_

#include "decant/core/encoder.h"

namespace decant {

// In all of these a row is the last axis of x, d elements, and
//
//   norm(x) = x / sqrt(mean(x^2) + eps)        (Zhang and Sennrich, arXiv 1910.07467)
//
// The ops with more than one step round as the single ops after each other do, so a fused call and
// its parts give the same bits. Finite rows of any magnitude are normalised correctly. A NaN makes
// its row NaN; an infinity becomes NaN and leaves the finite elements of its row 0.
//
// Errors (InvalidArgument, nothing recorded): a dtype other than f32, element counts that differ, a
// weight without exactly d elements, eps not a positive finite number, an output that overlaps an
// operand without being allowed to, buffers of another device.

// out = norm(x) * weight
struct RmsNormArgs {
  Buffer x;    // f32 [n, d]
  Buffer out;  // f32 [n, d]; may be x itself
  float eps;
  Buffer weight{};  // f32 [d]; none: all ones
};
void rms_norm(CommandEncoder& encoder, const RmsNormArgs& args);

// residual += norm(x) * weight
struct RmsNormAddArgs {
  Buffer x;         // f32 [n, d]
  Buffer weight;    // f32 [d]
  Buffer residual;  // f32 [n, d], read and written
  float eps;
};
void rms_norm_add(CommandEncoder& encoder, const RmsNormAddArgs& args);

// residual += norm(x) * weight; out = norm(residual) * next_weight
//
// What stands between two blocks of Gemma: the norm behind the one and the norm before the other.
struct RmsNormAddNormArgs {
  Buffer x;            // f32 [n, d]
  Buffer weight;       // f32 [d]
  Buffer residual;     // f32 [n, d], read and written
  Buffer next_weight;  // f32 [d]
  Buffer out;          // f32 [n, d]; may be x itself
  float eps;           // of both norms
};
void rms_norm_add_norm(CommandEncoder& encoder, const RmsNormAddNormArgs& args);

// sum = a + b; out = norm(sum) * weight
struct AddRmsNormArgs {
  Buffer a;       // f32 [n, d]
  Buffer b;       // f32 [n, d]
  Buffer sum;     // f32 [n, d]; may be a or b itself
  Buffer weight;  // f32 [d]
  Buffer out;     // f32 [n, d]; may be a or b itself, but not the sum
  float eps;
};
void add_rms_norm(CommandEncoder& encoder, const AddRmsNormArgs& args);

// Once one of these ops was used on a device, its graphs fuse
//
//   rms_norm, mul by a [d] weight            -> rms_norm with that weight  (if the first's output
//   rms_norm with weight, add to a residual  -> rms_norm_add                is otherwise unused
//                                                                           scratch)
//   rms_norm_add, rms_norm of the residual   -> rms_norm_add_norm
//   add, rms_norm of the sum                 -> add_rms_norm

}  // namespace decant

#endif  // DECANT_OPS_RMS_NORM_RMS_NORM_H_
