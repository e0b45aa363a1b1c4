// q4_1: 32 weights in 20 bytes, weight = d q + m with q of 4 bits.
// Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q4_1_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q4_1_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ4_1 {
  uint16_t d;      // f16
  uint16_t m;      // f16
  uint8_t qs[16];  // low nibbles: weights 0 to 15; high nibbles: weights 16 to 31
};
static_assert(sizeof(BlockQ4_1) == 20 && offsetof(BlockQ4_1, m) == 2 &&
              offsetof(BlockQ4_1, qs) == 4 && alignof(BlockQ4_1) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ4_1& block, float* out) {
  const float d = f32_from_f16(block.d), m = f32_from_f16(block.m);
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(block.qs[i] & 15) + m;
    out[i + 16] = d * static_cast<float>(block.qs[i] >> 4) + m;
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q4_1_H_
