// out = x W^T: activations times a weight matrix of any format, one token or many.
#ifndef DECANT_OPS_MAT_MUL_MAT_MUL_H_
#define DECANT_OPS_MAT_MUL_MAT_MUL_H_

#include "decant/core/encoder.h"
#include "decant/kernels/activations.h"

namespace decant {

// out[t][r] = sum over c of x[t][c] * weight[r][c], the layout of linear layers in GGUF files.
struct MatMulArgs {
  // [rows, cols]: f32, f16, bf16, or q4_0 to q8_0 or q2_k to q6_k; or, on a CPU with kQ8 or kQ16,
  // what pack_weights made.
  Buffer weight;
  Buffer x;    // f32 [n, cols]
  Buffer out;  // f32 [n, rows]
  // kQ8: x is rounded to 8 bits (kernels/block_formats/q8_row.h) where weight has a block format.
  // kQ16: to 16 bits, where weight is packed. On Metal, which has no integer products to gain by
  // it, x is never rounded.
  Activations activations = Activations::kF32;
  // A hint for one token in a CUDA graph, where a dispatch is launched, and asks for its weights,
  // while the one before it runs: the next one is launched already while this one waits for its
  // own input. Only where that next one is a mat_mul or a norm_mat_vec, which read nothing but
  // weights before they wait.
  bool next_early = false;
};

// Records the op. Sums are f32; for the error see README.md. The result is the same, bit for bit,
// for any number of threads.
//
// Throws UnsupportedDtype for a weight of another dtype; InvalidArgument for other dtypes or shapes
// that do not fit, out overlapping an input, buffers of another device.
void mat_mul(CommandEncoder& encoder, const MatMulArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_MAT_MUL_MAT_MUL_H_
