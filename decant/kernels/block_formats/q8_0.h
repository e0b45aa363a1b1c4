// q8_0: 32 weights in 34 bytes, weight = d q with q of 8 bits, signed.
// Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q8_0_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q8_0_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ8_0 {
  uint16_t d;  // f16
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34 && offsetof(BlockQ8_0, qs) == 2 && alignof(BlockQ8_0) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ8_0& block, float* out) {
  const float d = f32_from_f16(block.d);
  for (int i = 0; i < 32; ++i) out[i] = d * static_cast<float>(block.qs[i]);
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q8_0_H_
