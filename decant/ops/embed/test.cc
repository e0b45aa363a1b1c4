#include <gtest/gtest.h>

#include <climits>
#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/embed/cases.h"
#include "decant/ops/embed/embed.h"
#include "decant/ops/embed/reference.h"
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

void check(const Device& device, DType dtype, const EmbedCase& c) {
  SCOPED_TRACE(
      fmt::format("{} [{}, {}], {} tokens", to_string(dtype), c.vocab, c.hidden, c.tokens));
  const std::vector<std::byte> weights = random_weights(dtype, size_t{c.vocab} * c.hidden, 1);
  Guarded table(device, dtype, {c.vocab, c.hidden}), ids(device, DType::kI32, {c.tokens}),
      out(device, DType::kF32, {c.tokens, c.hidden});
  table.fill(weights);
  std::vector<int32_t> tokens(c.tokens);
  for (uint32_t i = 0; i < c.tokens; ++i)  // the last row first
    tokens[i] = static_cast<int32_t>((c.vocab - 1 + i * 7) % c.vocab);
  ids.fill<int32_t>(tokens);
  CommandEncoder encoder(device);
  const float scale = std::sqrt(static_cast<float>(c.hidden));
  embed(encoder, {.table = table.view(), .ids = ids.view(), .out = out.view(), .scale = scale});
  encoder.commit_and_wait();
  // Each value is one rounded product.
  EXPECT_TRUE(rows_near(out.view().span<float>(),
                        reference::embed(decoded(dtype, weights), tokens, c.hidden, scale), 1,
                        0x1p-24));
  EXPECT_TRUE(out.intact());
  EXPECT_TRUE(table.intact());
}

TEST(Embed, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const DType dtype : kWeightDTypes) {
      for (const EmbedCase& c : kEmbedCases)
        if (c.hidden % info(dtype).block_elems == 0) check(device, dtype, c);
      if (!is_quantized(dtype))
        for (const EmbedCase& c : kEmbedPlainCases) check(device, dtype, c);
    }
  });
}

TEST(Embed, IdsOutOfRangeGiveNanRowsAndReadNothing) {
  for_each_device([&](const Device& device) {
    const std::vector<int32_t> tokens = {0, -1, 2, 3, INT_MAX, INT_MIN, 1};
    const std::vector<std::byte> weights = random_weights(DType::kQ8_0, 3 * 64, 1);
    Guarded table(device, DType::kQ8_0, {3, 64}), out(device, DType::kF32, {tokens.size(), 64});
    table.fill(weights);
    const Buffer ids = device.upload<int32_t>(tokens, DType::kI32, {tokens.size()});
    CommandEncoder encoder(device);
    embed(encoder, {.table = table.view(), .ids = ids, .out = out.view()});
    encoder.commit_and_wait();
    const std::vector<double> want =
        reference::embed(decoded(DType::kQ8_0, weights), tokens, 64, 1);
    const std::span<const float> got = out.view().span<float>();
    for (size_t i = 0; i < want.size(); ++i) {
      if (std::isnan(want[i]))
        EXPECT_TRUE(std::isnan(got[i])) << i;
      else
        EXPECT_EQ(got[i], want[i]) << i;
    }
    EXPECT_TRUE(out.intact());
  });
}

// A mapped file: read-only, and its tensors start wherever their elements are aligned: blocks at
// any even address.
TEST(Embed, ReadsWrappedMemoryAtAnyEvenAddress) {
  for_each_device([&](const Device& device) {
    for (const DType dtype : kWeightDTypes) {
      SCOPED_TRACE(to_string(dtype));
      const std::vector<std::byte> weights = random_weights(dtype, 2 * 256, 1);
      const size_t start = std::max(2u, is_quantized(dtype) ? 2u : info(dtype).block_bytes);
      auto memory = std::make_shared<std::vector<std::byte>>(weights.size() + start);
      std::copy(weights.begin(), weights.end(),
                memory->begin() + static_cast<std::ptrdiff_t>(start));
      const Buffer table =
          device.wrap(std::span<const std::byte>(*memory).subspan(start), dtype, {2, 256}, memory);
      const std::vector<int32_t> tokens = {1, 0};
      const Buffer ids = device.upload<int32_t>(tokens, DType::kI32, {2});
      const Buffer out = device.buffer(DType::kF32, {2, 256});
      CommandEncoder encoder(device);
      embed(encoder, {.table = table, .ids = ids, .out = out});
      encoder.commit_and_wait();
      EXPECT_TRUE(rows_near(out.span<float>(),
                            reference::embed(decoded(dtype, weights), tokens, 256, 1), 1, 0));
    }
  });
}

TEST(Embed, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer table = device.buffer(DType::kQ8_0, {4, 64}), ids = device.buffer(DType::kI32, {3}),
               out = device.buffer(DType::kF32, {3, 64});
  CommandEncoder encoder(device);
  const auto rejected = [&](const EmbedArgs& args, ErrorKind kind, const char* message) {
    try {
      embed(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  const auto invalid = [&](const EmbedArgs& args, const char* message) {
    rejected(args, ErrorKind::kInvalidArgument, message);
  };
  invalid({.table = {}, .ids = ids, .out = out}, "embed: table: expected a buffer, got none");
  invalid({.table = table, .ids = out, .out = out}, "embed: ids: dtype must be i32, got f32");
  invalid({.table = table, .ids = ids, .out = ids}, "embed: out: dtype must be f32, got i32");
  invalid({.table = table, .ids = ids, .out = device.buffer(DType::kF32, {2, 64})},
          "embed: out: expected [n, hidden] = [3, 64], got [2, 64]");
  invalid({.table = table, .ids = device.buffer(DType::kI32, {0}), .out = out},
          "embed: ids: expected [n] with n of 1 to 2^31-1, got [0]");
  invalid({.table = device.buffer(DType::kQ8_0, {64}), .ids = ids, .out = out},
          "embed: table: expected [vocab, hidden] of at most 2^31-1 each, got [64]");
  const Buffer f32 = device.buffer(DType::kF32, {6, 64});
  invalid({.table = f32, .ids = ids, .out = f32.rows(3, 3)},
          "embed: out: must not overlap an input");
  rejected({.table = device.buffer(DType::kI8, {4, 64}), .ids = ids, .out = out},
           ErrorKind::kUnsupportedDtype,
           "embed: table: dtype must be f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, "
           "q4_k, q5_k or q6_k, got i8");
  EXPECT_THROW(
      embed(encoder, {.table = other.buffer(DType::kQ8_0, {4, 64}), .ids = ids, .out = out}),
      Error);
}

}  // namespace
}  // namespace decant
