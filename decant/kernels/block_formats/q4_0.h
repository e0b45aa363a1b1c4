// q4_0: 32 weights in 18 bytes, weight = d (q - 8) with q of 4 bits.
// Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q4_0_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q4_0_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ4_0 {
  uint16_t d;      // f16
  uint8_t qs[16];  // low nibbles: weights 0 to 15; high nibbles: weights 16 to 31
};
static_assert(sizeof(BlockQ4_0) == 18 && offsetof(BlockQ4_0, qs) == 2 && alignof(BlockQ4_0) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ4_0& block, float* out) {
  const float d = f32_from_f16(block.d);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block.qs[i] & 15) - 8);
    out[i + 16] = d * static_cast<float>((block.qs[i] >> 4) - 8);
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q4_0_H_
