#include "tools/decant/synth_weights.h"

#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "decant/kernels/block_formats/block_formats.h"

namespace decant::cli {
namespace {

constexpr uint64_t kPartElems = uint64_t{1} << 18;  // written at once; a multiple of every block

// [0, 1), the same on every platform.
double uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

double normal(std::mt19937_64& random) {
  // Box and Muller's method.
  const double radius = std::sqrt(-2 * std::log(1 - uniform(random)));
  return radius * std::cos(6.283185307179586 * uniform(random));
}

// The offset that gives blocks of uniformly random bits a mean of about zero, per unit of scale.
template <class Block>
constexpr double centre() {
  if constexpr (std::is_same_v<Block, BlockQ2_K>) return 1.5;
  if constexpr (std::is_same_v<Block, BlockQ4_1> || std::is_same_v<Block, BlockQ4_K>) return 7.5;
  if constexpr (std::is_same_v<Block, BlockQ5_1> || std::is_same_v<Block, BlockQ5_K>) return 15.5;
  return 0;
}

template <class Block>
void set_scale(Block& block, double scale) {
  block.d = f16_from_f32(static_cast<float>(scale));
  const double offset = scale * centre<Block>();
  if constexpr (requires { block.m; }) block.m = f16_from_f32(static_cast<float>(-offset));
  if constexpr (requires { block.dmin; }) block.dmin = f16_from_f32(static_cast<float>(offset));
}

template <class Block>
void fill_random(Block& block, std::mt19937_64& random) {
  std::byte bytes[sizeof(Block) + 7];
  for (size_t i = 0; i < sizeof(Block); i += 8) {
    const uint64_t bits = random();
    std::memcpy(bytes + i, &bits, 8);
  }
  std::memcpy(&block, bytes, sizeof block);
}

// The deviation of random blocks with a scale of 1.
template <class Block>
double unit_deviation(DType dtype) {
  std::mt19937_64 random(1);
  std::vector<float> values(info(dtype).block_elems);
  double sum = 0;
  constexpr int kBlocks = 256;
  for (int i = 0; i < kBlocks; ++i) {
    Block block;
    fill_random(block, random);
    set_scale(block, 1);
    decode(block, values.data());
    for (const float value : values) sum += double{value} * value;
  }
  return std::sqrt(sum / (kBlocks * static_cast<double>(values.size())));
}

void write(std::ostream& to, const std::vector<std::byte>& bytes) {
  to.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

template <class Block>
void write_blocks(std::ostream& to, DType dtype, uint64_t elements, double std, uint64_t seed) {
  std::mt19937_64 random(seed);
  const double unit = std / unit_deviation<Block>(dtype);
  std::vector<std::byte> bytes;
  for (uint64_t begin = 0; begin < elements; begin += kPartElems) {
    bytes.resize(bytes_of(dtype, std::min(kPartElems, elements - begin)));
    for (size_t at = 0; at < bytes.size(); at += sizeof(Block)) {
      Block block;
      fill_random(block, random);
      set_scale(block, unit * (0.5 + 0.9 * uniform(random)));
      std::memcpy(bytes.data() + at, &block, sizeof block);
    }
    write(to, bytes);
  }
}

template <typename T, typename Value>
void write_plain(std::ostream& to, uint64_t elements, uint64_t seed, const Value& value) {
  std::mt19937_64 random(seed);
  std::vector<std::byte> bytes;
  for (uint64_t begin = 0; begin < elements; begin += kPartElems) {
    bytes.resize(sizeof(T) * std::min(kPartElems, elements - begin));
    for (size_t at = 0; at < bytes.size(); at += sizeof(T)) {
      const T element = value(random);
      std::memcpy(bytes.data() + at, &element, sizeof element);
    }
    write(to, bytes);
  }
}

}  // namespace

std::function<void(std::ostream&)> synth_weights(DType dtype, uint64_t elements, double std,
                                                 uint64_t seed) {
  return [=](std::ostream& to) {
    const auto number = [=](std::mt19937_64& random) {
      return static_cast<float>(std * normal(random));
    };
    switch (dtype) {
      case DType::kF32:
        return write_plain<float>(to, elements, seed, number);
      case DType::kF16:
        return write_plain<uint16_t>(to, elements, seed,
                                     [&](auto& r) { return f16_from_f32(number(r)); });
      case DType::kBF16:
        return write_plain<uint16_t>(to, elements, seed,
                                     [&](auto& r) { return bf16_from_f32(number(r)); });
#define DECANT_WRITE(format, Format) \
  case DType::k##Format:             \
    return write_blocks<Block##Format>(to, dtype, elements, std, seed);
        DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_WRITE)
#undef DECANT_WRITE
      default:
        fail(ErrorKind::kUnsupportedDtype, "synth-model: weights: dtype must be {}, got {}",
             kWeightFormatNames, to_string(dtype));
    }
  };
}

std::function<void(std::ostream&)> synth_uniform(uint64_t elements, double low, double high,
                                                 uint64_t seed) {
  return [=](std::ostream& to) {
    write_plain<float>(to, elements, seed, [=](std::mt19937_64& random) {
      return static_cast<float>(low + (high - low) * uniform(random));
    });
  };
}

}  // namespace decant::cli
