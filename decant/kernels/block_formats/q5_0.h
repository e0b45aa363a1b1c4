// q5_0: 32 weights in 22 bytes, weight = d (q - 16) with q of 5 bits.
// Layout: ggml's GGUF formats, as the gguf Python package decodes them.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q5_0_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q5_0_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16.h"

namespace decant {

struct BlockQ5_0 {
  uint16_t d;      // f16
  uint8_t qh[4];   // bit i of the 32 (little-endian) is bit 4 of weight i
  uint8_t qs[16];  // low nibbles: weights 0 to 15; high nibbles: weights 16 to 31
};
static_assert(sizeof(BlockQ5_0) == 22 && offsetof(BlockQ5_0, qh) == 2 &&
              offsetof(BlockQ5_0, qs) == 6 && alignof(BlockQ5_0) == 2);

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
inline void decode(const BlockQ5_0& block, float* out) {
  const float d = f32_from_f16(block.d);
  const auto bit4 = [&](int i) { return (block.qh[i / 8] >> (i % 8) & 1) << 4; };
  for (int i = 0; i < 16; ++i) {
    out[i] = d * static_cast<float>(((block.qs[i] & 15) | bit4(i)) - 16);
    out[i + 16] = d * static_cast<float>(((block.qs[i] >> 4) | bit4(i + 16)) - 16);
  }
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q5_0_H_
