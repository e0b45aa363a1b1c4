// q3_k: 256 weights in 110 bytes, weight = (d (s - 32)) (q - 4) with q of 3 bits, and s of 6 bits
// for each 16 weights. Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q3_K_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q3_K_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ3_K {
  uint8_t hmask[32];  // bit 4 h + j of byte i is bit 2 of weight 128 h + 32 j + i
  uint8_t qs[64];     // weight 128 h + 32 j + i: bits 2 j and 2 j + 1 of byte 32 h + i
  // s of sub-block k: the low 4 bits are nibble k / 8 of byte k % 8; the high 2 bits are bits
  // 2 (k / 4) and 2 (k / 4) + 1 of byte 8 + k % 4.
  uint8_t scales[12];
  uint16_t d;  // f16
};
static_assert(sizeof(BlockQ3_K) == 110 && offsetof(BlockQ3_K, qs) == 32 &&
              offsetof(BlockQ3_K, scales) == 96 && offsetof(BlockQ3_K, d) == 108 &&
              alignof(BlockQ3_K) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ3_K& block, float* out) {
  const float d = f32_from_f16(block.d);
  for (int i = 0; i < 256; ++i) {
    const int k = i / 16, h = i / 128, j = i % 128 / 32;
    const int s = (block.scales[k % 8] >> (k / 8 * 4) & 15) |
                  (block.scales[8 + k % 4] >> (k / 4 * 2) & 3) << 4;
    const int q =
        (block.qs[h * 32 + i % 32] >> (j * 2) & 3) | (block.hmask[i % 32] >> (h * 4 + j) & 1) << 2;
    out[i] = d * static_cast<float>(s - 32) * static_cast<float>(q - 4);
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q3_K_H_
