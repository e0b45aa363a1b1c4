#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "decant/core/error.h"
#include "decant/kernels/select.h"
#include "decant/ops/top_k/cases.h"
#include "decant/ops/top_k/reference.h"
#include "decant/ops/top_k/top_k.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(OrderKey, OrdersValuesThenIndices) {
  const float ascending[] = {NAN, -kInf, -3e38f, -1.0f, -1e-45f, 0.0f, 1e-45f, 1.0f, 3e38f, kInf};
  for (size_t i = 1; i < std::size(ascending); ++i) {
    EXPECT_LT(order_key(ascending[i - 1], 0), order_key(ascending[i], 1000)) << i;
    EXPECT_EQ(key_value(order_key(ascending[i], 7)), ascending[i]);
    EXPECT_EQ(key_index(order_key(ascending[i], 7)), 7u);
    EXPECT_FALSE(key_is_nan(order_key(ascending[i], 7)));
  }
  EXPECT_EQ(order_key(-0.0f, 3), order_key(0.0f, 3));
  EXPECT_GT(order_key(1.0f, 3), order_key(1.0f, 4));
  EXPECT_TRUE(key_is_nan(order_key(-NAN, 3)));
  EXPECT_GT(order_key(NAN, 0x7FFFFFFE), 0u);
}

// Runs top_k and compares with the reference.
void check(const Device& device, std::span<const float> x, uint32_t k) {
  Guarded in(device, DType::kF32, {x.size()}), values(device, DType::kF32, {k}),
      ids(device, DType::kI32, {k});
  in.fill<float>(x);
  CommandEncoder encoder(device);
  top_k(encoder, {.x = in.view(), .values = values.view(), .ids = ids.view()});
  encoder.commit_and_wait();
  const std::vector<int32_t> want = reference::top_k(x, k);
  std::vector<float> want_values;
  for (const int32_t id : want) want_values.push_back(x[static_cast<size_t>(id)]);
  const std::span<const int32_t> got = ids.view().span<int32_t>();
  ASSERT_EQ(std::vector<int32_t>(got.begin(), got.end()), want);
  EXPECT_TRUE(bits_equal(values.view().span<float>(), want_values));
  EXPECT_TRUE(values.intact());
  EXPECT_TRUE(ids.intact());
  EXPECT_TRUE(in.intact());
}

TEST(TopK, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const TopKCase& c : kTopKCases) {
      SCOPED_TRACE(fmt::format("{} of {}", c.k, c.elements));
      check(device, random_normal(c.elements, 1), c.k);
    }
  });
}

// Orders of values that make a selection by thresholds work hardest.
TEST(TopK, HardOrders) {
  for_each_device([&](const Device& device) {
    constexpr uint32_t kElems = 40000;
    std::vector<float> ascending(kElems), descending(kElems), equal(kElems, 2.5f), few(kElems),
        clustered(kElems, -1.0f);
    for (uint32_t i = 0; i < kElems; ++i) {
      ascending[i] = static_cast<float>(i);
      descending[i] = -static_cast<float>(i);
      few[i] = static_cast<float>(i * 2654435761u >> 30) * (i % 2 ? 1.0f : -1.0f);
    }
    for (uint32_t i = 20000; i < 20300; ++i) clustered[i] = static_cast<float>(i % 7);
    for (const auto& x : {ascending, descending, equal, few, clustered})
      for (const uint32_t k : {1u, 40u, 255u, 256u, 300u, kElems}) {
        SCOPED_TRACE(k);
        check(device, x, k);
      }
  });
}

TEST(TopK, InfinitiesAndNan) {
  for_each_device([&](const Device& device) {
    for (const uint32_t n : {30u, 20000u}) {
      std::vector<float> x = random_normal(n, 3);
      for (uint32_t i = 0; i < n; i += 3) x[i] = NAN;
      x[4] = kInf;
      x[5] = -kInf;
      x[n - 1] = kInf;
      x[7] = -0.0f;
      for (const uint32_t k : {1u, 2u, 20u, 25u, 30u, n}) check(device, x, k);
      // Fewer numbers than k.
      std::fill(x.begin(), x.end(), NAN);
      x[n - 2] = -kInf;
      for (const uint32_t k : {1u, 2u, 30u, n}) check(device, x, k);
    }
  });
}

TEST(TopK, SameForAnyThreadCount) {
  const std::vector<float> x = random_normal(100000, 5);
  for (const uint32_t threads : {1u, 2u, 3u, 8u}) check(Device::cpu({.threads = threads}), x, 64);
}

TEST(TopK, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {8}), values = device.buffer(DType::kF32, {3}),
               ids = device.buffer(DType::kI32, {3});
  CommandEncoder encoder(device);
  const auto rejected = [&](const TopKArgs& args, const char* message) {
    try {
      top_k(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.x = {}, .values = values, .ids = ids}, "top_k: x: expected a buffer, got none");
  rejected({.x = x, .values = device.buffer(DType::kF16, {3}), .ids = ids},
           "top_k: values: dtype must be f32, got f16");
  rejected({.x = x, .values = values, .ids = device.buffer(DType::kI32, {4})},
           "top_k: values: expected 4 elements as ids has, got 3");
  rejected(
      {.x = x, .values = device.buffer(DType::kF32, {9}), .ids = device.buffer(DType::kI32, {9})},
      "top_k: ids: expected 1 to 8 elements, got 9");
  rejected({.x = x, .values = x.rows(0, 3), .ids = ids},
           "top_k: values: must not overlap x or ids");
  rejected({.x = x, .values = values, .ids = x.slice(0, DType::kI32, {3})},
           "top_k: ids: must not overlap x");
  EXPECT_THROW(top_k(encoder, {.x = other.buffer(DType::kF32, {8}), .values = values, .ids = ids}),
               Error);
}

}  // namespace
}  // namespace decant
