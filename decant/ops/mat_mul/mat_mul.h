// out = x W^T: activations times a weight matrix of any format, one token or many.
#ifndef DECANT_OPS_MAT_MUL_MAT_MUL_H_
#define DECANT_OPS_MAT_MUL_MAT_MUL_H_

#include "decant/core/encoder.h"

namespace decant {

// out[t][r] = sum over c of x[t][c] * weight[r][c], the layout of linear layers in GGUF files.
struct MatMulArgs {
  Buffer weight;  // [rows, cols]: f32, f16, bf16, or q4_0 to q8_0 or q2_k to q6_k
  Buffer x;       // f32 [n, cols]
  Buffer out;     // f32 [n, rows]
};

// Records the op. Activations stay f32 and sums are f32; for the error see README.md. The result is
// the same, bit for bit, for any number of threads.
//
// Throws UnsupportedDtype for a weight of another dtype; InvalidArgument for other dtypes or shapes
// that do not fit, out overlapping an input, buffers of another device.
void mat_mul(CommandEncoder& encoder, const MatMulArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_MAT_MUL_MAT_MUL_H_
