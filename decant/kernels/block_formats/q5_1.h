// q5_1: 32 weights in 24 bytes, weight = d q + m with q of 5 bits.
// Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q5_1_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q5_1_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ5_1 {
  uint16_t d;      // f16
  uint16_t m;      // f16
  uint8_t qh[4];   // bit i of the 32 (little-endian) is bit 4 of weight i
  uint8_t qs[16];  // low nibbles: weights 0 to 15; high nibbles: weights 16 to 31
};
static_assert(sizeof(BlockQ5_1) == 24 && offsetof(BlockQ5_1, m) == 2 &&
              offsetof(BlockQ5_1, qh) == 4 && offsetof(BlockQ5_1, qs) == 8 &&
              alignof(BlockQ5_1) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ5_1& block, float* out) {
  const float d = f32_from_f16(block.d), m = f32_from_f16(block.m);
  const auto bit4 = [&](int i) { return (block.qh[i / 8] >> (i % 8) & 1) << 4; };
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>((block.qs[i] & 15) | bit4(i)) + m;
    out[i + 16] = d * static_cast<float>((block.qs[i] >> 4) | bit4(i + 16)) + m;
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q5_1_H_
