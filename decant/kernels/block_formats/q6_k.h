// q6_k: 256 weights in 210 bytes, weight = (d s) (q - 32) with q of 6 bits, and s of 8 bits,
// signed, for each 16 weights. Layout: ggml's GGUF formats, as the gguf Python package decodes
// them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q6_K_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q6_K_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ6_K {
  // Weight 128 h + 32 j + i, low 4 bits: nibble j / 2 of byte 64 h + 32 (j % 2) + i.
  uint8_t ql[128];
  uint8_t qh[64];  // its high 2 bits: bits 2 j and 2 j + 1 of byte 32 h + i
  int8_t scales[16];
  uint16_t d;  // f16
};
static_assert(sizeof(BlockQ6_K) == 210 && offsetof(BlockQ6_K, qh) == 128 &&
              offsetof(BlockQ6_K, scales) == 192 && offsetof(BlockQ6_K, d) == 208 &&
              alignof(BlockQ6_K) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ6_K& block, float* out) {
  const float d = f32_from_f16(block.d);
  for (int i = 0; i < 256; ++i) {
    const int h = i / 128, j = i % 128 / 32;
    const int low = block.ql[h * 64 + j % 2 * 32 + i % 32] >> (j / 2 * 4) & 15;
    const int high = block.qh[h * 32 + i % 32] >> (j * 2) & 3;
    out[i] =
        d * static_cast<float>(block.scales[i / 16]) * static_cast<float>((low | high << 4) - 32);
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q6_K_H_
