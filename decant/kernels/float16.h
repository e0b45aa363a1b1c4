// Scalar conversions of IEEE binary16 and bfloat16, bit by bit. For references, tests and tails;
// the vector versions are in float16-inl.h.
#ifndef DECANT_KERNELS_FLOAT16_H_
#define DECANT_KERNELS_FLOAT16_H_

#include <bit>
#include <cstdint>

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/weights.h
namespace decant {

inline float f32_from_f16(uint16_t h) {
  const uint32_t sign = uint32_t{h & 0x8000u} << 16;
  const uint32_t magnitude = uint32_t{h & 0x7FFFu} << 13;
  // Shifting leaves the exponent 112 too small; the multiplication also normalises denormals.
  float value = std::bit_cast<float>(magnitude) * 0x1p112f;
  if ((h & 0x7C00u) == 0x7C00u) value = std::bit_cast<float>(magnitude | 0x7F800000u);
  return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
}

// Round to nearest even; overflow gives infinity, NaN stays NaN.
inline uint16_t f16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  const uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7C00u);  // >= 2^16
  if (magnitude < 0x38800000u) {
    // Denormal result: adding 0.5 leaves the f16 bits, correctly rounded, at the bottom.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u));
  }
  const uint32_t rounded = magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u);
  return static_cast<uint16_t>(sign | rounded >> 13);
}

inline float f32_from_bf16(uint16_t b) { return std::bit_cast<float>(uint32_t{b} << 16); }

inline uint16_t bf16_from_f32(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>(bits >> 16 | 0x40u);
  return static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

}  // namespace decant
#endif

#endif  // DECANT_KERNELS_FLOAT16_H_
