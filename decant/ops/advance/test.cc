#include <gtest/gtest.h>

#include <array>
#include <bit>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/ops/advance/advance.h"
#include "decant/ops/advance/params.h"
#include "decant/ops/advance/reference.h"
#include "testing/devices.h"

namespace decant {
namespace {

using testing::for_each_device;
using Words = std::array<uint32_t, 9>;

TEST(Advance, FollowsTwoRingsTokenByToken) {
  for_each_device([&](const Device& device) {
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
  });
}

// A host that is ahead reads tokens from the log, until the ring takes their slots.
TEST(Advance, LogsTokensForAHostThatIsAhead) {
  for_each_device([&](const Device& device) {
    const Buffer step = device.buffer(DType::kU32, {2}), token = device.buffer(DType::kI32, {1}),
                 attn = device.buffer(DType::kU32, {9});
    const Buffer log = device.buffer(DType::kI64, {5}, Usage::kHostVisible);
    const DecodeStep before{.position = UINT32_MAX, .token = 0};
    const int32_t sampled = 262143;
    device.write(step, std::as_bytes(std::span(&before, 1)));
    device.write(token, std::as_bytes(std::span(&sampled, 1)));
    EXPECT_EQ(logged_token(log, 0), std::nullopt);
    Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
      advance(encoder, {.step = step, .token = token, .attn_a = attn, .attn_b = attn, .log = log});
    });
    for (int i = 0; i < 7; ++i) graph.replay();
    graph.wait();
    for (const uint32_t position : {2u, 3u, 4u, 5u, 6u})
      EXPECT_EQ(logged_token(log, position), sampled) << position;
    for (const uint32_t position : {0u, 1u, 7u, 12u})
      EXPECT_EQ(logged_token(log, position), std::nullopt) << position;
  });
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
  const Buffer log = device.buffer(DType::kI64, {3});
  EXPECT_THROW(
      advance(encoder, {.step = step, .token = token, .attn_a = attn, .attn_b = attn, .log = attn}),
      Error);
  EXPECT_THROW(advance(encoder, {.step = log.slice(8, DType::kU32, {2}),
                                 .token = token,
                                 .attn_a = attn,
                                 .attn_b = attn,
                                 .log = log}),
               Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
