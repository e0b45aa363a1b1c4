#include "decant/core/dtype.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "decant/core/error.h"

namespace decant {
namespace {

constexpr int kNumDTypes = static_cast<int>(DType::kQ6_K_X16) + 1;

// The structs of ggml-common.h, summed field by field: f16 scales, then packed weights.
TEST(DType, BlocksAreAsGgmlLaysThemOut) {
  struct Want {
    DType dtype;
    const char* name;
    uint32_t elems, bytes;
  };
  const Want wants[] = {
      {DType::kF32, "f32", 1, 4},
      {DType::kF16, "f16", 1, 2},
      {DType::kBF16, "bf16", 1, 2},
      {DType::kF64, "f64", 1, 8},
      {DType::kI8, "i8", 1, 1},
      {DType::kU8, "u8", 1, 1},
      {DType::kI16, "i16", 1, 2},
      {DType::kI32, "i32", 1, 4},
      {DType::kU32, "u32", 1, 4},
      {DType::kI64, "i64", 1, 8},
      {DType::kQ4_0, "q4_0", 32, 2 + 16},
      {DType::kQ4_1, "q4_1", 32, 2 + 2 + 16},
      {DType::kQ5_0, "q5_0", 32, 2 + 4 + 16},
      {DType::kQ5_1, "q5_1", 32, 2 + 2 + 4 + 16},
      {DType::kQ8_0, "q8_0", 32, 2 + 32},
      {DType::kQ2_K, "q2_k", 256, 16 + 64 + 2 + 2},
      {DType::kQ3_K, "q3_k", 256, 32 + 64 + 12 + 2},
      {DType::kQ4_K, "q4_k", 256, 2 + 2 + 12 + 128},
      {DType::kQ5_K, "q5_k", 256, 2 + 2 + 12 + 32 + 128},
      {DType::kQ6_K, "q6_k", 256, 128 + 64 + 16 + 2},
      {DType::kQ4_0_X16, "q4_0_x16", 32, 2 + 16},
      {DType::kQ5_0_X16, "q5_0_x16", 32, 2 + 4 + 16},
      {DType::kQ8_0_X16, "q8_0_x16", 32, 2 + 32},
      {DType::kQ4_K_X16, "q4_k_x16", 256, 2 + 2 + 8 + 8 + 128},
      {DType::kQ6_K_X16, "q6_k_x16", 256, 2 + 16 + 128 + 64},
  };
  ASSERT_EQ(std::size(wants), size_t{kNumDTypes});
  for (const Want& want : wants) {
    SCOPED_TRACE(want.name);
    EXPECT_EQ(to_string(want.dtype), want.name);
    EXPECT_EQ(info(want.dtype).block_elems, want.elems);
    EXPECT_EQ(info(want.dtype).block_bytes, want.bytes);
    EXPECT_EQ(is_quantized(want.dtype), want.elems > 1);
    EXPECT_EQ(parse_dtype(want.name), want.dtype);
    // Buffer relies on it: rows of a block format stay aligned to the 2 bytes of its scales.
    if (want.elems > 1) {
      EXPECT_EQ(want.bytes % 2, 0u);
    }
  }
}

TEST(DType, ParseNamesWhatItDoesNotKnow) {
  for (const char* name : {"", "F32", "f3", "f32 ", "q4_k_m", "iq2_xs"}) {
    try {
      parse_dtype(name);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUnsupportedDtype);
      EXPECT_EQ(e.what(), "dtype '" + std::string(name) + "' is not known");
    }
  }
}

TEST(DType, BytesOfWholeBlocksOnly) {
  EXPECT_EQ(bytes_of(DType::kF32, 0), 0u);
  EXPECT_EQ(bytes_of(DType::kF32, 3), 12u);
  EXPECT_EQ(bytes_of(DType::kQ8_0, 64), 68u);
  EXPECT_EQ(bytes_of(DType::kQ4_K, 512), 288u);
  EXPECT_THROW(bytes_of(DType::kQ8_0, 31), Error);
  EXPECT_THROW(bytes_of(DType::kQ8_0, 33), Error);
  EXPECT_THROW(bytes_of(DType::kQ4_K, 255), Error);
}

TEST(DType, SizesThatOverflowAreRefused) {
  EXPECT_EQ(bytes_of(DType::kU8, UINT64_MAX), UINT64_MAX);
  EXPECT_EQ(bytes_of(DType::kF32, UINT64_MAX / 4), UINT64_MAX / 4 * 4);
  EXPECT_THROW(bytes_of(DType::kF32, UINT64_MAX / 4 + 1), Error);
  EXPECT_THROW(bytes_of(DType::kF64, uint64_t{1} << 61), Error);
  // 34 bytes for 32 elements: the bytes overflow though the elements do not.
  EXPECT_THROW(bytes_of(DType::kQ8_0, UINT64_MAX - 31), Error);
  EXPECT_EQ(bytes_of(DType::kQ4_0, uint64_t{1} << 63), (uint64_t{1} << 58) * 18);
}

TEST(DType, CheckedMul) {
  EXPECT_EQ(checked_mul(0, UINT64_MAX, "x"), 0u);
  EXPECT_EQ(checked_mul(1, UINT64_MAX, "x"), UINT64_MAX);
  EXPECT_EQ(checked_mul(uint64_t{1} << 32, (uint64_t{1} << 32) - 1, "x"), UINT64_MAX - UINT32_MAX);
  try {
    checked_mul(uint64_t{1} << 32, uint64_t{1} << 32, "grid");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
    EXPECT_STREQ(e.what(), "grid: 4294967296 * 4294967296 overflows 64 bits");
  }
}

}  // namespace
}  // namespace decant
