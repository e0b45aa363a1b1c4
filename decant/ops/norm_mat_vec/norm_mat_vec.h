// What one token's decoding does between a block of Gemma and the next: the residual addition, the
// norm, and up to three projections of its result, in one dispatch.
#ifndef DECANT_OPS_NORM_MAT_VEC_NORM_MAT_VEC_H_
#define DECANT_OPS_NORM_MAT_VEC_NORM_MAT_VEC_H_

#include <array>
#include <cstdint>

#include "decant/core/encoder.h"
#include "decant/kernels/activations.h"
#include "decant/ops/norm_mat_vec/params.h"

namespace decant {

// What becomes of the products.
enum class Combine : uint8_t {
  kNone,     // outs[i] = W_i h
  kGeluMul,  // outs[0] = gelu_tanh(W_0 h) * (W_1 h), as ops/gelu_mul
};

// With norm(v) = v / sqrt(mean(v^2) + eps):
//
//   x' = x + norm(delta) * delta_weight      (x without a delta)
//   h  = norm(x') * norm_weight
//   outs[i] = weights[i] h
//
// x' goes to x_out, another buffer than x: every group of the grid computes h for itself, so none
// may see another's x'. Two buffers that change places from call to call serve a whole model.
struct NormMatVecArgs {
  Buffer x;               // f32 [cols], the residual stream
  Buffer delta{};         // f32 [cols]: a block's output
  Buffer delta_weight{};  // f32 [cols], with delta
  Buffer x_out{};         // f32 [cols], with delta
  Buffer norm_weight;     // f32 [cols]
  float eps;
  // [rows_i, cols], each in a format of its own: f32, f16, bf16, q4_0 to q8_0 or q2_k to q6_k, or,
  // on a CPU with kQ8, what pack_weights made. One to three, the first ones.
  std::array<Buffer, 3> weights;
  std::array<Buffer, 3> outs;        // f32 [rows_i]; with kGeluMul only the first
  Combine combine = Combine::kNone;  // kGeluMul needs two weights of one shape
  // kF32 or kQ8. kQ8, on a CPU: h is rounded to 8 bits (kernels/block_formats/q8_row.h) for weights
  // in a block format. Other devices never round it.
  Activations activations = Activations::kF32;
  // A hint: what dispatches after the next one will read. A GPU whose memory would be idle fetches
  // it to its cache meanwhile; it is not interpreted, and other devices ignore it.
  std::array<Buffer, kNormMatVecLater> later{};
  bool next_early = false;  // as in MatMulArgs
};

// How a call will run. Depends on shapes, formats and the device.
struct NormMatVecPlan {
  NormMatVecParams params{};
  Launch launch{};
};
NormMatVecPlan plan(const NormMatVecArgs& args, const Device& device);

// Records the op: one dispatch. On the CPU bit-equal to rms_norm_add, rms_norm, mat_mul with the
// same activations, and gelu_mul, one after the other, and so for any number of threads.
//
// Throws UnsupportedDtype for a weight of another dtype; InvalidArgument for other dtypes or shapes
// that do not fit; delta, delta_weight and x_out not given together; eps not a positive finite
// number; no weights, or not as many as outs; x_out or an out overlapping another argument; buffers
// of another device.
void norm_mat_vec(CommandEncoder& encoder, const NormMatVecArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_NORM_MAT_VEC_NORM_MAT_VEC_H_
