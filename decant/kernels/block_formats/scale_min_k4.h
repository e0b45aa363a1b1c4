// The eight 6-bit scales and minimums that q4_k and q5_k pack into 12 bytes. With the bytes as
// three little-endian words a, b, c and a step for each byte of a word: the low 6 bits of a and b
// are scales 0 to 3 and minimums 0 to 3; scales 4 to 7 have their low 4 bits in the low nibbles of
// c and their high 2 bits in the high bits of a; minimums 4 to 7 likewise in the high nibbles of c
// and b.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_SCALE_MIN_K4_H_
#define DECANT_KERNELS_BLOCK_FORMATS_SCALE_MIN_K4_H_

#include <cstdint>
#include <cstring>

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
namespace decant {

struct ScaleMinK4 {
  uint8_t scale[8];
  uint8_t min[8];
};

inline ScaleMinK4 unpack_scale_min_k4(const uint8_t* packed) {
  uint32_t words[3];
  std::memcpy(words, packed, 12);
  const auto [a, b, c] = words;
  // Each as one 64-bit store, so that vector loads of all eight can be forwarded from it.
  const uint64_t scale = (a & 0x3F3F3F3Fu) | uint64_t{(c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u)}
                                                 << 32;
  const uint64_t min = (b & 0x3F3F3F3Fu) | uint64_t{(c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u)}
                                               << 32;
  ScaleMinK4 result;
  std::memcpy(result.scale, &scale, 8);
  std::memcpy(result.min, &min, 8);
  return result;
}

}  // namespace decant
#endif

#endif  // DECANT_KERNELS_BLOCK_FORMATS_SCALE_MIN_K4_H_
