#ifndef DECANT_KERNELS_ACTIVATIONS_H_
#define DECANT_KERNELS_ACTIVATIONS_H_

#include <cstdint>

namespace decant {

// What a product with weights in a block format does with its activations.
enum class Activations : uint8_t {
  kF32,  // multiplies them as they are
  kQ8,   // rounds them to 8 bits first, as kernels/block_formats/q8_row.h says: integer products
  kQ16,  // rounds what that leaves over in the same way: 16 bits, for mat_mul with packed weights
};

}  // namespace decant

#endif  // DECANT_KERNELS_ACTIVATIONS_H_
