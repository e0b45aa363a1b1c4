// q5_k: 256 weights in 176 bytes, weight = (d s) q - (dmin m) with q of 5 bits, and s and m of 6
// bits for each 32 weights. Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q5_K_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q5_K_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/block_formats/scale_min_k4.h"
#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ5_K {
  uint16_t d;          // f16
  uint16_t dmin;       // f16
  uint8_t scales[12];  // scale_min_k4.h
  uint8_t qh[32];      // bit k of byte i is bit 4 of weight 32 k + i
  uint8_t qs[128];     // weight 64 g + i: low nibble of byte 32 g + i; 64 g + 32 + i: high nibble
};
static_assert(sizeof(BlockQ5_K) == 176 && offsetof(BlockQ5_K, dmin) == 2 &&
              offsetof(BlockQ5_K, scales) == 4 && offsetof(BlockQ5_K, qh) == 16 &&
              offsetof(BlockQ5_K, qs) == 48 && alignof(BlockQ5_K) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ5_K& block, float* out) {
  const float d = f32_from_f16(block.d), dmin = f32_from_f16(block.dmin);
  const ScaleMinK4 packed = unpack_scale_min_k4(block.scales);
  for (int i = 0; i < 256; ++i) {
    const float scale = d * static_cast<float>(packed.scale[i / 32]);
    const float min = dmin * static_cast<float>(packed.min[i / 32]);
    const int q = (block.qs[i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15) |
                  (block.qh[i % 32] >> (i / 32) & 1) << 4;
    out[i] = scale * static_cast<float>(q) - min;
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q5_K_H_
