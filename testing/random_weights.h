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
    for (size_t i = 0; i < elements; ++i) {
      const auto converted = convert(value(1));
      std::memcpy(bytes.data() + i * sizeof converted, &converted, sizeof converted);
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
