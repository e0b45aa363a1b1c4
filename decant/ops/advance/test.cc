#include <gtest/gtest.h>

#include <array>
#include <bit>

#include "decant/core/error.h"
#include "decant/ops/advance/advance.h"
#include "decant/ops/advance/params.h"
#include "decant/ops/advance/reference.h"

namespace decant {
namespace {

using Words = std::array<uint32_t, 9>;

TEST(Advance, FollowsTwoRingsTokenByToken) {
  const Device device = Device::cpu({.threads = 1});
  const Buffer step = device.buffer(DType::kU32, {2}), token = device.buffer(DType::kI32, {1}),
               a = device.buffer(DType::kU32, {9}), b = device.buffer(DType::kU32, {9});
  const FlashAttnVecParams small{4, 1, 256, 0, 7, 0.5f, 2, 5, 0},
      large{4, 1, 256, 0, 40, 0.5f, 1, 0, 0};
  device.write(a, std::as_bytes(std::span(&small, 1)));
  device.write(b, std::as_bytes(std::span(&large, 1)));
  step.span<uint32_t>()[0] = UINT32_MAX;  // before the first token
  CommandEncoder encoder(device);
  for (uint32_t position = 0; position < 40; ++position) {
    token.span<int32_t>()[0] = static_cast<int32_t>(position * 3);
    advance(encoder, {.step = step, .token = token, .attn_a = a, .attn_b = b});
    encoder.commit_and_wait();
    EXPECT_EQ(step.span<uint32_t>()[0], position);
    EXPECT_EQ(step.span<uint32_t>()[1], position * 3);
    for (const auto& [buffer, before] : {std::pair{&a, &small}, std::pair{&b, &large}}) {
      FlashAttnVecParams after;
      device.read(*buffer, std::as_writable_bytes(std::span(&after, 1)));
      const auto [live, oldest] = reference::ring_after(position + 1, before->kv_capacity);
      EXPECT_EQ(after.kv_seq_len, live) << position;
      EXPECT_EQ(after.ring_start, oldest) << position;
      after.kv_seq_len = after.ring_start = 0;
      EXPECT_EQ(std::bit_cast<Words>(after), std::bit_cast<Words>(*before));
    }
  }
}

TEST(Advance, RejectsBadArguments) {
  const Device device = Device::cpu({.threads = 1});
  const Buffer step = device.buffer(DType::kU32, {2}), token = device.buffer(DType::kI32, {1}),
               attn = device.buffer(DType::kU32, {9});
  CommandEncoder encoder(device);
  EXPECT_THROW(advance(encoder, {.step = attn, .token = token, .attn_a = attn, .attn_b = attn}),
               Error);
  EXPECT_THROW(advance(encoder, {.step = step, .token = step, .attn_a = attn, .attn_b = attn}),
               Error);
  EXPECT_THROW(advance(encoder, {.step = step, .token = token, .attn_a = step, .attn_b = attn}),
               Error);
  EXPECT_THROW(advance(encoder, {.step = step, .token = token, .attn_a = attn, .attn_b = {}}),
               Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
