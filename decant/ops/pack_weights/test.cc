// The order of packed weights, and what the op rejects. What products make of them:
// ops/mat_mul/q8_test.cc.
#include <gtest/gtest.h>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/pack_weights/pack_weights.h"
#include "testing/devices.h"
#include "testing/guarded.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

using testing::decoded;
using testing::Guarded;
using testing::random_weights;

int nibble(const NibblesX16& qs, size_t row, size_t c) {
  const uint8_t byte = qs[c / 8][row][c % 4];
  return c % 8 < 4 ? byte & 15 : byte >> 4;
}

// The weight of `row` in column `c` of a block, as x16.h describes it.
float weight_of(const BlockQ4_0_X16& b, size_t row, size_t c) {
  return f32_from_f16(b.d[row]) * static_cast<float>(nibble(b.qs, row, c) - 8);
}
float weight_of(const BlockQ5_0_X16& b, size_t row, size_t c) {
  const int bit4 = b.qh[row][c % 4] >> (c / 4) & 1;
  return f32_from_f16(b.d[row]) * static_cast<float>((nibble(b.qs, row, c) | bit4 << 4) - 16);
}
float weight_of(const BlockQ8_0_X16& b, size_t row, size_t c) {
  return f32_from_f16(b.d[row]) * static_cast<float>(b.qs[c / 4][row][c % 4]);
}
float weight_of(const BlockQ4_K_X16& b, size_t row, size_t c) {
  const size_t g = c / 32;
  return f32_from_f16(b.d[row]) * static_cast<float>(b.scales[g][row]) *
             static_cast<float>(nibble(b.qs[g], row, c % 32)) -
         f32_from_f16(b.dmin[row]) * static_cast<float>(b.mins[g][row]);
}
float weight_of(const BlockQ6_K_X16& b, size_t row, size_t c) {
  const BlockQ6_K_X16::Group& group = b.groups[c / 32];
  const size_t i = c % 32;
  const int high = group.qh[i / 16][row][c % 4] >> (i % 16 / 4 * 2) & 3;
  return f32_from_f16(b.d[row]) * static_cast<float>(b.scales[c / 16][row]) *
         static_cast<float>((nibble(group.ql, row, i) | high << 4) - 32);
}

template <class Packed>
void check(DType dtype) {
  constexpr uint32_t kRows = 48;
  const size_t elems = info(dtype).block_elems, cols = 5 * elems;
  SCOPED_TRACE(to_string(dtype));
  const std::vector<std::byte> bytes = random_weights(dtype, kRows * cols, 1);
  const std::vector<float> want = decoded(dtype, bytes);
  for (const uint32_t threads : {1u, 3u}) {
    const Device device = Device::cpu({.threads = threads});
    Guarded weight(device, dtype, {kRows, cols});
    Guarded out(device, x16_of(dtype).value(), {kRows, cols});
    weight.fill(bytes);
    CommandEncoder encoder(device);
    ASSERT_TRUE(can_pack_weights(device, weight.view()));
    pack_weights(encoder, {.weight = weight.view(), .out = out.view()});
    encoder.commit_and_wait();
    EXPECT_TRUE(weight.intact());
    EXPECT_TRUE(out.intact());
    const auto* blocks = reinterpret_cast<const Packed*>(out.view().host());
    for (size_t r = 0; r < kRows; ++r)
      for (size_t c = 0; c < cols; ++c) {
        const Packed& block = blocks[r / 16 * (cols / elems) + c / elems];
        ASSERT_EQ(weight_of(block, r % 16, c % elems), want[r * cols + c]) << r << ' ' << c;
      }
  }
}

TEST(PackWeights, EveryWeightIsInItsPlace) {
  check<BlockQ4_0_X16>(DType::kQ4_0);
  check<BlockQ5_0_X16>(DType::kQ5_0);
  check<BlockQ8_0_X16>(DType::kQ8_0);
  check<BlockQ4_K_X16>(DType::kQ4_K);
  check<BlockQ6_K_X16>(DType::kQ6_K);
}

TEST(PackWeights, Errors) {
  const Device device = Device::cpu({.threads = 1});
  const auto message = [&](DType dtype, const Shape& shape, DType to, const Shape& to_shape) {
    CommandEncoder encoder(device);
    std::string what = "accepted";
    try {
      pack_weights(encoder,
                   {.weight = device.buffer(dtype, shape), .out = device.buffer(to, to_shape)});
    } catch (const Error& e) {
      what = e.what();
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
    return what;
  };
  EXPECT_EQ(message(DType::kQ5_K, {16, 256}, DType::kQ8_0_X16, {16, 256}),
            "pack_weights: weight: dtype must be q4_0, q5_0, q8_0, q4_k or q6_k, got q5_k");
  EXPECT_EQ(message(DType::kQ8_0, {24, 32}, DType::kQ8_0_X16, {24, 32}),
            "pack_weights: weight: expected [rows, cols] with a multiple of 16 rows, got [24, 32]");
  EXPECT_EQ(message(DType::kQ8_0, {16, 32}, DType::kQ5_0_X16, {16, 32}),
            "pack_weights: out: dtype must be q8_0_x16, got q5_0_x16");
  EXPECT_EQ(message(DType::kQ8_0, {16, 32}, DType::kQ8_0_X16, {16, 64}),
            "pack_weights: out: expected [16, 32] as weight has, got [16, 64]");
  EXPECT_FALSE(can_pack_weights(device, device.buffer(DType::kQ8_0, {24, 32})));
  EXPECT_FALSE(can_pack_weights(device, device.buffer(DType::kQ5_K, {16, 256})));
  CommandEncoder encoder(device);
  EXPECT_THROW(pack_weights(encoder, {.weight = {}, .out = {}}), Error);
}

}  // namespace
}  // namespace decant
