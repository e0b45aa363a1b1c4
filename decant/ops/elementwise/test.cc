#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/elementwise/cases.h"
#include "decant/ops/elementwise/elementwise.h"
#include "decant/ops/elementwise/reference.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;

// One rounding of the exact value (the double result of two floats is exact, or nearly so).
std::vector<float> rounded(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

TEST(Elementwise, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const ElementwiseCase& c : kElementwiseCases) {
      for (const bool repeats : {false, true}) {
        SCOPED_TRACE(::testing::Message()
                     << c.rows << "x" << c.columns << ", b repeats: " << repeats);
        const Shape shape{c.rows, c.columns};
        const Shape b_shape = repeats ? Shape{c.columns} : shape;
        Guarded a(device, DType::kF32, shape), b(device, DType::kF32, b_shape),
            sum(device, DType::kF32, shape), product(device, DType::kF32, shape);
        const std::vector<float> av = random_normal(shape.elements(), 1),
                                 bv = random_normal(b_shape.elements(), 2);
        a.fill<float>(av);
        b.fill<float>(bv);
        CommandEncoder encoder(device);
        add(encoder, {.a = a.view(), .b = b.view(), .out = sum.view()});
        mul(encoder, {.a = a.view(), .b = b.view(), .out = product.view()});
        encoder.commit_and_wait();
        EXPECT_TRUE(bits_equal(sum.view().span<float>(), rounded(reference::add(av, bv))));
        EXPECT_TRUE(bits_equal(product.view().span<float>(), rounded(reference::mul(av, bv))));
        for (const Guarded* g : {&a, &b, &sum, &product}) EXPECT_TRUE(g->intact());
      }
    }
  });
}

TEST(Elementwise, InPlace) {
  for_each_device([&](const Device& device) {
    constexpr uint64_t kRows = 9, kColumns = 1027;
    const std::vector<float> av = random_normal(kRows * kColumns, 3),
                             bv = random_normal(kRows * kColumns, 4);
    const Buffer a = device.upload<float>(av, DType::kF32, {kRows, kColumns});
    const Buffer b = device.upload<float>(bv, DType::kF32, {kRows, kColumns});
    CommandEncoder encoder(device);
    add(encoder, {.a = a, .b = b, .out = a});
    mul(encoder, {.a = a, .b = b, .out = b});
    add(encoder, {.a = b, .b = a.rows(2, 1), .out = b});  // a's third row to each row
    encoder.commit_and_wait();
    const std::vector<float> sum = rounded(reference::add(av, bv));
    const std::vector<float> product = rounded(reference::mul(sum, bv));
    EXPECT_TRUE(bits_equal(a.span<float>(), sum));
    EXPECT_TRUE(bits_equal(
        b.span<float>(),
        rounded(reference::add(product, std::span(sum).subspan(2 * kColumns, kColumns)))));
  });
}

TEST(Elementwise, NanAndInfinityPass) {
  for_each_device([&](const Device& device) {
    std::vector<float> av(37, 1.0f), bv(37, 2.0f);
    av[0] = NAN;
    bv[36] = NAN;
    av[5] = INFINITY;
    const Buffer a = device.upload<float>(av, DType::kF32, {37});
    const Buffer b = device.upload<float>(bv, DType::kF32, {37});
    const Buffer out = device.buffer(DType::kF32, {37});
    CommandEncoder encoder(device);
    mul(encoder, {.a = a, .b = b, .out = out});
    encoder.commit_and_wait();
    for (size_t i = 0; i < 37; ++i) {
      const float got = out.span<float>()[i];
      if (i == 0 || i == 36)
        EXPECT_TRUE(std::isnan(got)) << i;
      else
        EXPECT_EQ(got, i == 5 ? INFINITY : 2.0f) << i;
    }
  });
}

TEST(Elementwise, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {4, 8}), row = device.buffer(DType::kF32, {8});
  CommandEncoder encoder(device);
  const auto rejected = [&](const ElementwiseArgs& args, const std::string& message) {
    for (const bool is_add : {true, false}) {
      try {
        (is_add ? &add : &mul)(encoder, args);
        ADD_FAILURE() << "accepted; expected: " << message;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
        EXPECT_EQ(e.what(), (is_add ? "add: " : "mul: ") + message);
      }
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.a = device.buffer(DType::kF16, {4, 8}), .b = x, .out = x},
           "a: dtype must be f32, got f16");
  rejected({.a = x, .b = {}, .out = x}, "b: expected a buffer, got none");
  rejected({.a = device.buffer(DType::kF32, {0}), .b = x, .out = x},
           "a: expected 1 to 2^32-1 elements, got 0");
  rejected({.a = x, .b = device.buffer(DType::kF32, {4}), .out = x},
           "b: expected 32 elements as a has, or 8 as a's last axis, got 4");
  rejected({.a = x, .b = row, .out = row}, "out: expected 32 elements as a has, got 8");
  const Buffer big = device.buffer(DType::kF32, {8, 8});
  rejected({.a = big.rows(0, 4), .b = row, .out = big.rows(1, 4)},
           "out: must be a itself or not overlap it");
  rejected({.a = x, .b = big.rows(0, 4), .out = big.rows(1, 4)},
           "out: must be b itself or not overlap b");
  rejected({.a = x, .b = big.rows(0, 1).reshape({8}), .out = big.rows(0, 4)},
           "out: must not overlap b");
  EXPECT_THROW(add(encoder, {.a = other.buffer(DType::kF32, {4, 8}), .b = x, .out = x}), Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
