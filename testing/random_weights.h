// Seeded weights of any format, for tests and benches.
#ifndef DECANT_TESTING_RANDOM_WEIGHTS_H_
#define DECANT_TESTING_RANDOM_WEIGHTS_H_

#include <cstddef>
#include <cstring>
#include <random>
#include <vector>

#include "decant/core/dtype.h"
#include "decant/kernels/block_formats/block_formats.h"

namespace decant::testing {

namespace detail {
template <class Block>
void set_scales(Block& block, uint16_t scale, uint16_t min) {
  block.d = scale;
  if constexpr (requires { block.m; }) block.m = min;
  if constexpr (requires { block.dmin; }) block.dmin = min;
}
}  // namespace detail

// Block formats: gives the blocks in `bytes` scales of either sign, at most 0.02. Plain formats:
// sets all of `bytes` to values between -1 and 1.
inline void set_random_values(DType dtype, std::vector<std::byte>& bytes, std::mt19937_64& random) {
  const auto value = [&](float magnitude) {
    return magnitude * (static_cast<float>(random() >> 40) * 0x1p-23f - 1);
  };
  const auto blocks = [&]<class Block>(Block block) {
    for (size_t i = 0; i < bytes.size(); i += sizeof block) {
      std::memcpy(&block, bytes.data() + i, sizeof block);
      detail::set_scales(block, f16_from_f32(value(0.02f)), f16_from_f32(value(0.02f)));
      std::memcpy(bytes.data() + i, &block, sizeof block);
    }
  };
  const auto plain = [&](auto convert) {
    const size_t elem_bytes = sizeof(convert(0.0f));
    for (size_t i = 0; i < bytes.size(); i += elem_bytes) {
      const auto converted = convert(value(1));
      std::memcpy(bytes.data() + i, &converted, elem_bytes);
    }
  };
  switch (dtype) {
    case DType::kF32:
      plain([](float v) { return v; });
      break;
    case DType::kF16:
      plain(f16_from_f32);
      break;
    case DType::kBF16:
      plain(bf16_from_f32);
      break;
#define DECANT_FILL(format, Format) \
  case DType::k##Format:            \
    blocks(Block##Format{});        \
    break;
      DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_FILL)
#undef DECANT_FILL
    default:
      break;
  }
}

// The bytes of `elements` weights, a whole number of blocks. The bits of block formats are random
// and their scales of either sign and about 0.01, so weights are below 10 or so in magnitude; plain
// formats hold values between -1 and 1.
inline std::vector<std::byte> random_weights(DType dtype, size_t elements, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(bytes_of(dtype, elements));
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t bits = random();
    std::memcpy(bytes.data() + i, &bits, std::min<size_t>(8, bytes.size() - i));
  }
  set_random_values(dtype, bytes, random);
  return bytes;
}

// The same for a block format, with all bytes of integers (and of small scales) equal.
inline std::vector<std::byte> uniform_weights(DType dtype, size_t elements, std::byte integers,
                                              uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes(bytes_of(dtype, elements), integers);
  set_random_values(dtype, bytes, random);
  return bytes;
}

// random_weights, decoded.
inline std::vector<float> decoded(DType dtype, std::span<const std::byte> weights) {
  std::vector<float> values(weights.size() / info(dtype).block_bytes * info(dtype).block_elems);
  decode_weights(dtype, weights.data(), values);
  return values;
}

// Every dtype that weights may have.
inline constexpr DType kWeightDTypes[] = {
#define DECANT_NAME(format, Format) DType::k##Format,
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_NAME)
#undef DECANT_NAME
};

}  // namespace decant::testing

#endif  // DECANT_TESTING_RANDOM_WEIGHTS_H_
