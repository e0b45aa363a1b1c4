#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "decant/core/error.h"
#include "decant/ops/softcap/cases.h"
#include "decant/ops/softcap/reference.h"
#include "decant/ops/softcap/softcap.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;
using testing::rows_near;

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Softcap, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const SoftcapCase& c : kSoftcapCases) {
      SCOPED_TRACE(c.elements);
      Guarded x(device, DType::kF32, {c.elements}), out(device, DType::kF32, {c.elements});
      const std::vector<float> values = random_normal(c.elements, 1, 40.0f);
      x.fill<float>(values);
      CommandEncoder encoder(device);
      softcap(encoder, {.x = x.view(), .out = out.view(), .cap = 30});
      encoder.commit_and_wait();
      EXPECT_TRUE(rows_near(out.view().span<float>(), reference::softcap(values, 30), 1, 1e-6));
      EXPECT_TRUE(out.intact());
      EXPECT_TRUE(x.intact());
    }
  });
}

TEST(Softcap, ExtremesAndInPlace) {
  for_each_device([&](const Device& device) {
    std::vector<float> values(40, 1e-20f);
    values[0] = values[39] = kInf;
    values[1] = values[38] = -kInf;
    values[2] = values[37] = NAN;
    values[3] = 3e38f;
    values[4] = -3e38f;
    values[5] = -0.0f;
    const Buffer x = device.upload<float>(values, DType::kF32, {values.size()});
    CommandEncoder encoder(device);
    softcap(encoder, {.x = x, .out = x, .cap = 50});
    encoder.commit_and_wait();
    const std::span<const float> out = x.span<float>();
    for (const size_t i : {0, 39, 3}) EXPECT_EQ(out[i], 50) << i;
    for (const size_t i : {1, 38, 4}) EXPECT_EQ(out[i], -50) << i;
    for (const size_t i : {2, 37}) EXPECT_TRUE(std::isnan(out[i])) << i;
    EXPECT_EQ(out[5], 0);
    EXPECT_NEAR(out[6], 1e-20f, 1e-25);
  });
}

TEST(Softcap, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {8});
  CommandEncoder encoder(device);
  const auto rejected = [&](const SoftcapArgs& args, const char* message) {
    try {
      softcap(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.x = {}, .out = x, .cap = 1}, "softcap: x: expected a buffer, got none");
  rejected({.x = device.buffer(DType::kF16, {8}), .out = x, .cap = 1},
           "softcap: x: dtype must be f32, got f16");
  rejected({.x = x, .out = device.buffer(DType::kF32, {7}), .cap = 1},
           "softcap: out: expected 8 elements as x has, got 7");
  for (const float cap : {0.0f, -30.0f, kInf, NAN})
    rejected({.x = x, .out = x, .cap = cap},
             fmt::format("softcap: cap: expected a finite number > 0, got {}", cap).c_str());
  const Buffer big = device.buffer(DType::kF32, {16});
  rejected({.x = big.rows(0, 8), .out = big.rows(4, 8), .cap = 1},
           "softcap: out: must be x itself or not overlap it");
  EXPECT_THROW(softcap(encoder, {.x = x, .out = other.buffer(DType::kF32, {8}), .cap = 1}), Error);
}

}  // namespace
}  // namespace decant
