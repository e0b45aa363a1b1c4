#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/ops/advance/reference.h"
#include "decant/ops/embed/reference.h"
#include "decant/ops/rope_table/reference.h"
#include "decant/ops/step_inputs/step_inputs.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

using testing::decoded;
using testing::for_each_device;
using testing::Guarded;
using testing::kWeightDTypes;
using testing::random_weights;
using testing::rows_near;

constexpr uint32_t kVocab = 5;

struct Case {
  DType dtype;
  uint32_t hidden, pairs[2];
  bool log;
};

void expect_angles(std::span<const float> got, const StepRope& rope, uint32_t position) {
  const size_t pairs = got.size() / 2;
  const std::vector<double> want =
      reference::rope_table(1, pairs, rope.base, rope.position_scale, position);
  // As for rope_table.
  const double bound = 0x1p-25 + 4 * 0x1p-53 * position * rope.position_scale;
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(got[i], want[i], bound) << i;
}

void check(const Device& device, const Case& c) {
  SCOPED_TRACE(
      fmt::format("{} {}, pairs {} and {}", to_string(c.dtype), c.hidden, c.pairs[0], c.pairs[1]));
  const std::vector<std::byte> weights = random_weights(c.dtype, size_t{kVocab} * c.hidden, 1);
  Guarded table(device, c.dtype, {kVocab, c.hidden}), x(device, DType::kF32, {1, c.hidden}),
      rope_a(device, DType::kF32, {1, 2, c.pairs[0]}),
      rope_b(device, DType::kF32, {1, 2, c.pairs[1]});
  table.fill(weights);
  const Buffer step = device.buffer(DType::kU32, {2}), token = device.buffer(DType::kI32, {1}),
               attn_a = device.buffer(DType::kU32, {9}), attn_b = device.buffer(DType::kU32, {9});
  const Buffer log = c.log ? device.buffer(DType::kI64, {3}, Usage::kHostVisible) : Buffer{};
  const FlashAttnVecParams small{4, 1, 256, 0, 7, 0.5f, 2, 5, 0},
      large{4, 1, 256, 0, 40, 0.5f, 1, 0, 0};
  device.write(attn_a, std::as_bytes(std::span(&small, 1)));
  device.write(attn_b, std::as_bytes(std::span(&large, 1)));
  const DecodeStep before{.position = UINT32_MAX, .token = 0};
  device.write(step, std::as_bytes(std::span(&before, 1)));
  const float scale = std::sqrt(static_cast<float>(c.hidden));
  const StepInputsArgs args{
      .advance = {.step = step, .token = token, .attn_a = attn_a, .attn_b = attn_b, .log = log},
      .table = table.view(),
      .x = x.view(),
      .scale = scale,
      .ropes = {{{.out = rope_a.view(), .base = 1e6, .position_scale = 0.125},
                 {.out = rope_b.view(), .base = 1e4}}}};
  Graph graph =
      Graph::capture(device, [&](CommandEncoder& encoder) { step_inputs(encoder, args); });
  // The last two are no tokens: their rows are NaN.
  const int32_t tokens[] = {4, 0, 3, 1, 2, 2, 0, 1, 3, 4, -1, 5};
  for (uint32_t position = 0; position < std::size(tokens); ++position) {
    device.write(token, std::as_bytes(std::span(&tokens[position], 1)));
    graph.replay_and_wait();
    DecodeStep now{};
    device.read(step, std::as_writable_bytes(std::span(&now, 1)));
    EXPECT_EQ(now.position, position);
    EXPECT_EQ(static_cast<int32_t>(now.token), tokens[position]);
    for (const auto& [buffer, capacity] : {std::pair{&attn_a, 7u}, std::pair{&attn_b, 40u}}) {
      FlashAttnVecParams after{};
      device.read(*buffer, std::as_writable_bytes(std::span(&after, 1)));
      const auto [live, oldest] = reference::ring_after(position + 1, capacity);
      EXPECT_EQ(after.kv_seq_len, live);
      EXPECT_EQ(after.ring_start, oldest);
      EXPECT_EQ(after.kv_capacity, capacity);
    }
    if (c.log) {
      EXPECT_EQ(logged_token(log, position), tokens[position]);
    }
    const std::vector<int32_t> ids{tokens[position]};
    const std::vector<double> row =
        reference::embed(decoded(c.dtype, weights), ids, c.hidden, scale);
    const std::span<const float> got = x.view().span<float>();
    if (tokens[position] < 0 || tokens[position] >= static_cast<int32_t>(kVocab)) {
      for (const float v : got) ASSERT_TRUE(std::isnan(v));
    } else {
      EXPECT_TRUE(rows_near(got, row, 1, 0x1p-24));
    }
    expect_angles(rope_a.view().span<float>(), args.ropes[0], position);
    expect_angles(rope_b.view().span<float>(), args.ropes[1], position);
  }
  for (const Guarded* guarded : {&table, &x, &rope_a, &rope_b}) EXPECT_TRUE(guarded->intact());
}

TEST(StepInputs, MatchesTheReferencesTokenByToken) {
  for_each_device([&](const Device& device) {
    for (const DType dtype : kWeightDTypes) check(device, {dtype, 256, {16, 16}, true});
    check(device, {DType::kQ8_0, 640, {128, 128}, true});
    check(device, {DType::kF32, 3, {1, 5}, false});
    check(device, {DType::kBF16, 8200, {300, 7}, false});  // more than a block does at once
  });
}

TEST(StepInputs, RejectsBadArguments) {
  const Device device = Device::cpu({.threads = 1});
  CommandEncoder encoder(device);
  const Buffer rope = device.buffer(DType::kF32, {1, 2, 8});
  const StepInputsArgs good{
      .advance = {.step = device.buffer(DType::kU32, {2}),
                  .token = device.buffer(DType::kI32, {1}),
                  .attn_a = device.buffer(DType::kU32, {9}),
                  .attn_b = device.buffer(DType::kU32, {9})},
      .table = device.buffer(DType::kQ8_0, {4, 64}),
      .x = device.buffer(DType::kF32, {1, 64}),
      .ropes = {{{.out = rope, .base = 1e4},
                 {.out = device.buffer(DType::kF32, {1, 2, 8}), .base = 1e4}}}};
  const auto rejected = [&](const auto& change, std::string_view message) {
    StepInputsArgs bad = good;
    change(bad);
    try {
      step_inputs(encoder, bad);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(std::string_view(e.what()), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected([](StepInputsArgs& a) { a.advance.token = {}; },
           "advance: token: expected a buffer, got none");
  rejected([](StepInputsArgs& a) { a.table = {}; }, "embed: table: expected a buffer, got none");
  rejected(
      [&](StepInputsArgs& a) {
        a.x = device.buffer(DType::kF32, {2, 64});
      },
      "embed: out: expected [n, hidden] = [1, 64], got [2, 64]");
  rejected([](StepInputsArgs& a) { a.ropes[1].base = 0; },
           "rope_table: base: expected a positive finite number, got 0");
  rejected(
      [&](StepInputsArgs& a) {
        a.ropes[0].out = device.buffer(DType::kF32, {2, 2, 8});
      },
      "step_inputs: ropes: expected tables of one token, got [2, 2, 8]");
  rejected([&](StepInputsArgs& a) { a.ropes[1].out = rope; },
           "step_inputs: x, ropes: must not overlap each other");
  rejected(
      [&](StepInputsArgs& a) {
        a.table = a.x.reshape({1, 64});
      },
      "embed: out: must not overlap an input");
  const Buffer shared = device.buffer(DType::kF32, {1, 2, 8});
  rejected(
      [&](StepInputsArgs& a) {
        a.advance.attn_b = shared.slice(0, DType::kU32, {9});
        a.ropes[0].out = shared;
      },
      "step_inputs: x, ropes: must not overlap another argument");
  step_inputs(encoder, good);
  EXPECT_EQ(encoder.commands().dispatches.size(), 4u);  // on the CPU
}

}  // namespace
}  // namespace decant
