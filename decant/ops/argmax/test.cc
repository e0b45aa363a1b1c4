#include "decant/ops/argmax/argmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "decant/core/error.h"
#include "decant/ops/argmax/cases.h"
#include "decant/ops/argmax/reference.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;

constexpr float kInf = std::numeric_limits<float>::infinity();

// What argmax writes for the rows of `x`.
std::vector<int32_t> run(const Device& device, std::span<const float> x, uint32_t rows) {
  const uint32_t row_elems = static_cast<uint32_t>(x.size()) / rows;
  Guarded in(device, DType::kF32, {rows, row_elems}), out(device, DType::kI32, {rows});
  in.fill<float>(x);
  CommandEncoder encoder(device);
  argmax(encoder, {.x = in.view(), .out = out.view()});
  encoder.commit_and_wait();
  EXPECT_TRUE(out.intact());
  EXPECT_TRUE(in.intact());
  const std::span<const int32_t> got = out.view().span<int32_t>();
  return {got.begin(), got.end()};
}

TEST(Argmax, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const ArgmaxCase& c : kArgmaxCases) {
      SCOPED_TRACE(fmt::format("{} x {}", c.rows, c.row_elems));
      std::vector<float> x = random_normal(size_t{c.rows} * c.row_elems, 1);
      // Few different values: ties in most rows.
      for (size_t i = 0; i < x.size() / 2; ++i) x[i] = std::round(x[i]);
      const std::vector<int32_t> got = run(device, x, c.rows);
      for (size_t row = 0; row < c.rows; ++row)
        ASSERT_EQ(got[row], reference::argmax(std::span(x).subspan(row * c.row_elems, c.row_elems)))
            << "row " << row;
    }
  });
}

// The maximum at every kind of place, alone and with an equal one behind it.
TEST(Argmax, FirstOfEqualElementsWins) {
  for_each_device([&](const Device& device) {
    constexpr uint32_t kElems = 40000;
    for (const uint32_t at : {0u, 1u, 15u, 16u, 1023u, 1024u, 16383u, 16384u, 32768u, 39999u}) {
      std::vector<float> x(kElems, -3.0f);
      x[at] = -1.0f;
      EXPECT_EQ(run(device, x, 1)[0], static_cast<int32_t>(at));
      for (uint32_t behind = at + 1; behind < kElems; behind = behind * 2 + 7) x[behind] = -1.0f;
      EXPECT_EQ(run(device, x, 1)[0], static_cast<int32_t>(at));
    }
    std::vector<float> zeros(kElems, -1.0f);
    zeros[70] = -0.0f;
    zeros[20000] = 0.0f;
    EXPECT_EQ(run(device, zeros, 1)[0], 70);
    EXPECT_EQ(run(device, std::vector<float>(kElems, 5.0f), 1)[0], 0);
  });
}

TEST(Argmax, NanNeverWinsUnlessAlone) {
  for_each_device([&](const Device& device) {
    for (const size_t n : {1, 7, 16, 100, 40000}) {
      SCOPED_TRACE(n);
      std::vector<float> x(n, NAN);
      EXPECT_EQ(run(device, x, 1)[0], 0);
      x[n - 1] = -kInf;
      EXPECT_EQ(run(device, x, 1)[0], static_cast<int32_t>(n - 1));
      x[n / 2] = -kInf;
      EXPECT_EQ(run(device, x, 1)[0], static_cast<int32_t>(n / 2));
      x[n - 1] = 1.0f;
      EXPECT_EQ(run(device, x, 1)[0], static_cast<int32_t>(n - 1));
      x[n - 1] = kInf;
      EXPECT_EQ(run(device, x, 1)[0], static_cast<int32_t>(n - 1));
    }
  });
}

TEST(Argmax, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {2, 8}), out = device.buffer(DType::kI32, {2});
  CommandEncoder encoder(device);
  const auto rejected = [&](const ArgmaxArgs& args, const char* message) {
    try {
      argmax(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.x = {}, .out = out}, "argmax: x: expected a buffer, got none");
  rejected({.x = device.buffer(DType::kF16, {2, 8}), .out = out},
           "argmax: x: dtype must be f32, got f16");
  rejected({.x = x, .out = device.buffer(DType::kU32, {2})},
           "argmax: out: dtype must be i32, got u32");
  rejected({.x = x, .out = device.buffer(DType::kI32, {3})},
           "argmax: out: expected 2 elements as x has rows, got 3");
  rejected({.x = x.reshape({2, 2, 4}), .out = out},
           "argmax: x: expected shape [n, d] or [d], got [2, 2, 4]");
  rejected({.x = x, .out = x.slice(0, DType::kI32, {2})}, "argmax: out: must not overlap x");
  EXPECT_THROW(argmax(encoder, {.x = other.buffer(DType::kF32, {2, 8}), .out = out}), Error);
}

}  // namespace
}  // namespace decant
