// Activations rounded to 8 bits, as the integer products of dot_q8-inl.h take them.
//
// Each 32 neighbouring values x have one scale:
//   largest = max |x|,  scale = largest / 127,  q = x * (127 / largest) rounded to nearest, ties to
//   even; x is taken to be scale * q.
// All in f32, each operation rounded, so every machine gets the same bits. |q| <= 127. If `largest`
// is below 2^-100, all q and the scale are 0; if a value is NaN or infinite, all q are 0 and the
// scale is NaN, so that every product with these 32 is NaN.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q8_ROW_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q8_ROW_H_

#include <cstddef>
#include <cstdint>

namespace decant {

inline constexpr size_t kQ8Elems = 32;
inline constexpr float kQ8Smallest = 0x1p-100f;

// 256 activations: one chunk (chunk.h) of a row. What a row has less of is 0.
struct alignas(64) Q8Chunk {
  // In pieces of 16, as load_pieces (pieces-inl.h) gives the weights: of each 128 values the first
  // halves of their four groups of 32, then the second halves.
  int8_t q[256];
  int32_t minus_sum4[64];  // minus the sums of each four q above
  float scale16[16];       // of each 16 values: pairs of equal ones
  float sum16[16];         // scale * sum of q, over each 16 values, for minimums
  float scale32[8];        // of each 32
  float sum32[8];
  int32_t minus_sum16[16];  // minus the sum of q, over each 16
};
static_assert(sizeof(Q8Chunk) == 768 && alignof(Q8Chunk) == 64);

constexpr size_t q8_chunks(size_t cols) { return (cols + 255) / 256; }
constexpr size_t q8_bytes(size_t cols) { return q8_chunks(cols) * sizeof(Q8Chunk); }

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q8_ROW_H_
