#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/ops/rope_table/cases.h"
#include "decant/ops/rope_table/reference.h"
#include "decant/ops/rope_table/rope_table.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::Guarded;

TEST(RopeTable, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const RopeTableCase& c : kRopeTableCases) {
      SCOPED_TRACE(::testing::Message()
                   << c.tokens << "x" << c.pairs << " at " << c.position << ", base " << c.base);
      Guarded out(device, DType::kF32, {c.tokens, 2, c.pairs});
      CommandEncoder encoder(device);
      rope_table(encoder, {.out = out.view(),
                           .base = c.base,
                           .position_scale = c.position_scale,
                           .position = c.position});
      encoder.commit_and_wait();
      const std::vector<double> want =
          reference::rope_table(c.tokens, c.pairs, c.base, c.position_scale, c.position);
      // The rounding to f32 (half a unit below 1), and what double loses of a large angle: a few
      // roundings of 2^-53 each.
      const double largest = (static_cast<double>(c.position) + c.tokens) * c.position_scale;
      const double bound = 0x1p-25 + 4 * 0x1p-53 * largest;
      for (size_t i = 0; i < want.size(); ++i)
        ASSERT_NEAR(out.view().span<float>()[i], want[i], bound) << i;
      EXPECT_TRUE(out.intact());
    }
  });
}

TEST(RopeTable, PositionFromABufferMovesBetweenReplays) {
  for_each_device([&](const Device& device) {
    const Buffer position = device.buffer(DType::kU32, {1});
    const Buffer out = device.buffer(DType::kF32, {2, 2, 16}),
                 want = device.buffer(DType::kF32, {2, 2, 16});
    Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
      rope_table(encoder, {.out = out, .base = 1e4, .position = 3, .position_buffer = position});
    });
    for (const uint32_t p : {0u, 17u, 131070u}) {
      position.span<uint32_t>()[0] = p;
      graph.replay_and_wait();
      CommandEncoder encoder(device);
      rope_table(encoder, {.out = want, .base = 1e4, .position = p});
      encoder.commit_and_wait();
      EXPECT_TRUE(bits_equal(out.span<float>(), want.span<float>())) << p;
    }
  });
}

TEST(RopeTable, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer out = device.buffer(DType::kF32, {2, 2, 4});
  CommandEncoder encoder(device);
  const auto rejected = [&](const RopeTableArgs& args, const char* message) {
    try {
      rope_table(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.out = {}, .base = 1e4}, "rope_table: out: expected a buffer, got none");
  rejected({.out = device.buffer(DType::kF16, {2, 2, 4}), .base = 1e4},
           "rope_table: out: dtype must be f32, got f16");
  rejected({.out = out.reshape({4, 1, 4}), .base = 1e4},
           "rope_table: out: expected the shape [n, 2, head_dim / 2], got [4, 1, 4]");
  rejected({.out = out, .base = 0}, "rope_table: base: expected a positive finite number, got 0");
  rejected({.out = out, .base = 1e4, .position_scale = INFINITY},
           "rope_table: position_scale: expected a finite number, got inf");
  rejected({.out = out, .base = 1e4, .position = UINT32_MAX},
           "rope_table: position: 4294967295 and 2 tokens pass 2^32");
  rejected({.out = out, .base = 1e4, .position_buffer = out},
           "rope_table: position_buffer: expected u32 [1], got f32 [2, 2, 4]");
  rejected({.out = out, .base = 1e4, .position_buffer = out.slice(4, DType::kU32, {1})},
           "rope_table: out: must not overlap position_buffer");
  EXPECT_THROW(rope_table(encoder, {.out = other.buffer(DType::kF32, {2, 2, 4}), .base = 1e4}),
               Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
