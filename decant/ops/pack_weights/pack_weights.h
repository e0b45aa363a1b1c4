// Puts the rows of a weight matrix side by side in sixteens, as decoding on a CPU reads them
// fastest.
#ifndef DECANT_OPS_PACK_WEIGHTS_PACK_WEIGHTS_H_
#define DECANT_OPS_PACK_WEIGHTS_PACK_WEIGHTS_H_

#include "decant/core/encoder.h"

namespace decant {

// The same integers and scales in another order (kernels/block_formats/x16.h), for mat_mul and
// norm_mat_vec with activations kQ8.
struct PackWeightsArgs {
  Buffer weight;  // [rows, cols], rows a multiple of 16: q4_0, q5_0, q8_0, q4_k or q6_k
  Buffer out;     // the same shape: x16_of(weight's dtype)
};

// Whether `weight` can be packed for this device: a CPU, the format, the number of rows.
bool can_pack_weights(const Device& device, const Buffer& weight);

// Records the op.
//
// Throws UnsupportedDtype for a weight of another format; InvalidArgument for a shape that does not
// fit, an out of another dtype or shape, out overlapping weight, another device than a CPU, buffers
// of another device.
void pack_weights(CommandEncoder& encoder, const PackWeightsArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_PACK_WEIGHTS_PACK_WEIGHTS_H_
