// q2_k: 256 weights in 84 bytes, weight = (d s) q - (dmin m) with q of 2 bits, and s and m of 4
// bits for each 16 weights. Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q2_K_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q2_K_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ2_K {
  uint8_t scales[16];  // low nibble s, high nibble m of weights 16 i to 16 i + 15
  uint8_t qs[64];      // weight 128 h + 32 j + i: bits 2 j and 2 j + 1 of byte 32 h + i
  uint16_t d;          // f16
  uint16_t dmin;       // f16
};
static_assert(sizeof(BlockQ2_K) == 84 && offsetof(BlockQ2_K, qs) == 16 &&
              offsetof(BlockQ2_K, d) == 80 && offsetof(BlockQ2_K, dmin) == 82 &&
              alignof(BlockQ2_K) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ2_K& block, float* out) {
  const float d = f32_from_f16(block.d), dmin = f32_from_f16(block.dmin);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(block.scales[i / 16] & 15);
    const float min = dmin * static_cast<float>(block.scales[i / 16] >> 4);
    const int q = block.qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
    out[i] = scale * static_cast<float>(q) - min;
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q2_K_H_
