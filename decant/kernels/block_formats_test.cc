// Plain and SIMD decoding, bit for bit against what the gguf package makes of the same blocks.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "decant/kernels/block_formats/block_formats.h"
#include "testing/compare.h"
#include "testing/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/kernels/block_formats_test.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

// Decodes a whole row, chunk by chunk.
void decode_row(DType dtype, const std::byte* row, size_t elems, float* out) {
  switch (dtype) {
#define DECANT_DECODE(format, Format)                                                     \
  case DType::k##Format:                                                                  \
    for (size_t i = 0; i < elems; i += kChunkElems)                                       \
      decode_row_part<Weights##Format>(row, i, HWY_MIN(kChunkElems, elems - i), out + i); \
    return;
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_DECODE)
#undef DECANT_DECODE
    default:
      FAIL();
  }
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
namespace {

HWY_EXPORT(decode_row);

struct Fixture {
  std::vector<std::byte> blocks;  // of one format, one after the other
  std::vector<float> values;
};

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes(hex.size() / 2);
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<std::byte>(std::stoi(hex.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

std::map<DType, Fixture> read_fixtures() {
  std::map<DType, Fixture> fixtures;
  std::ifstream file(std::filesystem::path(__FILE__).parent_path() / "block_formats" / "testdata" /
                     "block_formats.txt");
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name, block, values;
    words >> name >> block >> values;
    Fixture& fixture = fixtures[parse_dtype(name)];
    const std::vector<std::byte> bytes = from_hex(block), decoded = from_hex(values);
    fixture.blocks.insert(fixture.blocks.end(), bytes.begin(), bytes.end());
    std::vector<float> floats(decoded.size() / sizeof(float));
    std::memcpy(floats.data(), decoded.data(), decoded.size());
    fixture.values.insert(fixture.values.end(), floats.begin(), floats.end());
  }
  return fixtures;
}

TEST(BlockFormats, FixturesCoverEveryFormat) {
  const auto fixtures = read_fixtures();
#define DECANT_EXPECT(format, Format)                                   \
  EXPECT_EQ(to_string(DType::k##Format), #format);                      \
  EXPECT_EQ(sizeof(Block##Format), info(DType::k##Format).block_bytes); \
  ASSERT_TRUE(fixtures.contains(DType::k##Format)) << #format;          \
  EXPECT_GE(fixtures.at(DType::k##Format).values.size(), 8 * info(DType::k##Format).block_elems);
  DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_EXPECT)
#undef DECANT_EXPECT
  for (const auto& [dtype, fixture] : fixtures)
    EXPECT_EQ(bytes_of(dtype, fixture.values.size()), fixture.blocks.size()) << to_string(dtype);
}

TEST(BlockFormats, PlainDecodingEqualsGguf) {
  for (const auto& [dtype, fixture] : read_fixtures()) {
    SCOPED_TRACE(to_string(dtype));
    std::vector<float> got(fixture.values.size());
    decode_weights(dtype, fixture.blocks.data(), got);
    EXPECT_TRUE(testing::bits_equal(got, fixture.values));
  }
}

TEST(BlockFormats, SimdDecodingEqualsGguf) {
  const auto fixtures = read_fixtures();
  testing::for_each_simd_target([&](const std::string&) {
    for (const auto& [dtype, fixture] : fixtures) {
      SCOPED_TRACE(to_string(dtype));
      const size_t block_elems = info(dtype).block_elems, block_bytes = info(dtype).block_bytes;
      const size_t blocks = fixture.values.size() / block_elems;
      // Every block first in a row once, so that each takes every place of a chunk; exactly sized
      // copies at odd multiples of 2 bytes, for sanitizers and guards to see what is touched.
      for (size_t first = 0; first < blocks; ++first) {
        const size_t elems = (blocks - first) * block_elems;
        std::vector<std::byte> copy(2 + (blocks - first) * block_bytes);
        std::memcpy(copy.data() + 2, fixture.blocks.data() + first * block_bytes, copy.size() - 2);
        std::vector<float> got(elems + 1, -1.0f);
        HWY_DYNAMIC_DISPATCH(decode_row)(dtype, copy.data() + 2, elems, got.data());
        EXPECT_TRUE(testing::bits_equal(std::span(got).first(elems),
                                        std::span(fixture.values).subspan(first * block_elems)));
        EXPECT_EQ(got.back(), -1.0f);
      }
    }
  });
}

// f32 is not in the fixtures: its decoding is a copy. Every length, for the tail.
TEST(BlockFormats, F32IsCopied) {
  const std::vector<float> values = testing::random_normal(70, 1);
  testing::for_each_simd_target([&](const std::string&) {
    for (size_t n = 1; n <= values.size(); ++n) {
      std::vector<float> got(n);
      const auto* from = reinterpret_cast<const std::byte*>(values.data());
      HWY_DYNAMIC_DISPATCH(decode_row)(DType::kF32, from, n, got.data());
      EXPECT_TRUE(testing::bits_equal(got, std::span(values).first(n)));
    }
  });
}

TEST(BlockFormats, OtherDtypesAreRefused) {
  std::vector<float> out(4);
  const std::vector<std::byte> bytes(64);
  try {
    decode_weights(DType::kI8, bytes.data(), out);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUnsupportedDtype);
  }
}

}  // namespace
}  // namespace decant
#endif
