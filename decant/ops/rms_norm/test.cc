#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/elementwise/elementwise.h"
#include "decant/ops/rms_norm/cases.h"
#include "decant/ops/rms_norm/reference.h"
#include "decant/ops/rms_norm/rms_norm.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;
using testing::rows_near;

constexpr float kEps = 1e-6f;
constexpr double kBound = 1e-6;

std::vector<double> widen(std::span<const float> values) { return {values.begin(), values.end()}; }

std::vector<double> sum(const std::vector<double>& a, std::span<const float> b) {
  std::vector<double> out(a);
  for (size_t i = 0; i < out.size(); ++i) out[i] += b[i];
  return out;
}

TEST(RmsNorm, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const RmsNormCase& c : kRmsNormCases) {
      SCOPED_TRACE(::testing::Message() << c.rows << "x" << c.row_elems);
      const Shape shape{c.rows, c.row_elems};
      Guarded x(device, DType::kF32, shape), weight(device, DType::kF32, {c.row_elems}),
          plain(device, DType::kF32, shape), weighted(device, DType::kF32, shape);
      const std::vector<float> xv = random_normal(shape.elements(), 1, 5.0f);
      const std::vector<float> wv = random_normal(c.row_elems, 2);
      x.fill<float>(xv);
      weight.fill<float>(wv);
      CommandEncoder encoder(device);
      rms_norm(encoder, {.x = x.view(), .out = plain.view(), .eps = kEps});
      rms_norm(encoder,
               {.x = x.view(), .out = weighted.view(), .eps = kEps, .weight = weight.view()});
      encoder.commit_and_wait();
      EXPECT_TRUE(rows_near(plain.view().span<float>(),
                            reference::rms_norm(widen(xv), {}, c.row_elems, kEps), c.row_elems,
                            kBound));
      EXPECT_TRUE(rows_near(weighted.view().span<float>(),
                            reference::rms_norm(widen(xv), wv, c.row_elems, kEps), c.row_elems,
                            kBound));
      for (const Guarded* g : {&x, &weight, &plain, &weighted}) EXPECT_TRUE(g->intact());
    }
  });
}

// Each op of several steps: against the reference, and bit for bit against its parts.
TEST(RmsNorm, StepsAroundTheResidual) {
  for_each_device([&](const Device& device) {
    for (const RmsNormCase& c : kRmsNormCases) {
      SCOPED_TRACE(::testing::Message() << c.rows << "x" << c.row_elems);
      const Shape shape{c.rows, c.row_elems};
      const std::vector<float> xv = random_normal(shape.elements(), 1, 5.0f),
                               rv = random_normal(shape.elements(), 2, 3.0f),
                               wv = random_normal(c.row_elems, 3),
                               w2v = random_normal(c.row_elems, 4);
      Guarded x(device, DType::kF32, shape), w(device, DType::kF32, {c.row_elems}),
          w2(device, DType::kF32, {c.row_elems}), out(device, DType::kF32, shape);
      x.fill<float>(xv);
      w.fill<float>(wv);
      w2.fill<float>(w2v);
      Guarded fused(device, DType::kF32, shape), parts(device, DType::kF32, shape);
      fused.fill<float>(rv);
      parts.fill<float>(rv);
      const Buffer normed = device.buffer(DType::kF32, shape),
                   parts_out = device.buffer(DType::kF32, shape);

      CommandEncoder encoder(device);
      rms_norm_add_norm(encoder, {.x = x.view(),
                                  .weight = w.view(),
                                  .residual = fused.view(),
                                  .next_weight = w2.view(),
                                  .out = out.view(),
                                  .eps = kEps});
      rms_norm_add(encoder,
                   {.x = x.view(), .weight = w.view(), .residual = parts.view(), .eps = kEps});
      rms_norm(encoder, {.x = parts.view(), .out = parts_out, .eps = kEps, .weight = w2.view()});
      encoder.commit_and_wait();
      const std::vector<double> want =
          sum(reference::rms_norm(widen(xv), wv, c.row_elems, kEps), rv);
      EXPECT_TRUE(rows_near(fused.view().span<float>(), want, c.row_elems, kBound));
      EXPECT_TRUE(rows_near(out.view().span<float>(),
                            reference::rms_norm(want, w2v, c.row_elems, kEps), c.row_elems,
                            2 * kBound));
      EXPECT_TRUE(bits_equal(fused.view().span<float>(), parts.view().span<float>()));
      EXPECT_TRUE(bits_equal(out.view().span<float>(), parts_out.span<float>()));

      // The same residual from a norm and a sum.
      parts.fill<float>(rv);
      rms_norm(encoder, {.x = x.view(), .out = normed, .eps = kEps, .weight = w.view()});
      add(encoder, {.a = parts.view(), .b = normed, .out = parts.view()});
      encoder.commit_and_wait();
      EXPECT_TRUE(bits_equal(fused.view().span<float>(), parts.view().span<float>()));

      // sum = x + residual, then its norm.
      fused.fill<float>(rv);
      add_rms_norm(encoder, {.a = x.view(),
                             .b = fused.view(),
                             .sum = fused.view(),
                             .weight = w.view(),
                             .out = out.view(),
                             .eps = kEps});
      encoder.commit_and_wait();
      const std::vector<double> total = sum(widen(xv), rv);
      EXPECT_TRUE(rows_near(fused.view().span<float>(), total, c.row_elems, kBound));
      EXPECT_TRUE(rows_near(out.view().span<float>(),
                            reference::rms_norm(total, wv, c.row_elems, kEps), c.row_elems,
                            2 * kBound));
      for (const Guarded* g : {&x, &w, &w2, &out, &fused, &parts}) EXPECT_TRUE(g->intact());
    }
  });
}

TEST(RmsNorm, InPlaceIsTheSame) {
  for_each_device([&](const Device& device) {
    const std::vector<float> xv = random_normal(5 * 83, 7), wv = random_normal(83, 8);
    const Buffer x = device.upload<float>(xv, DType::kF32, {5, 83}),
                 w = device.upload<float>(wv, DType::kF32, {83}),
                 out = device.buffer(DType::kF32, {5, 83});
    CommandEncoder encoder(device);
    rms_norm(encoder, {.x = x, .out = out, .eps = kEps, .weight = w});
    rms_norm(encoder, {.x = x, .out = x, .eps = kEps, .weight = w});
    encoder.commit_and_wait();
    EXPECT_TRUE(bits_equal(x.span<float>(), out.span<float>()));
  });
}

TEST(RmsNorm, AnyMagnitude) {
  for_each_device([&](const Device& device) {
    // With 1e-37 and 3e37 the squares leave f32. The last row is all zeros.
    const std::vector<float> scales = {1e-37f, 1e-20f, 1e-10f, 1e10f, 1e18f, 3e37f, 0};
    constexpr size_t kRow = 77;
    std::vector<float> xv;
    for (const float scale : scales) {
      const std::vector<float> row = random_normal(kRow, 5, scale);
      xv.insert(xv.end(), row.begin(), row.end());
    }
    const Buffer x = device.upload<float>(xv, DType::kF32, {scales.size(), kRow});
    const Buffer out = device.buffer(DType::kF32, {scales.size(), kRow});
    for (const float eps : {1e-6f, 1e-30f}) {
      CommandEncoder encoder(device);
      rms_norm(encoder, {.x = x, .out = out, .eps = eps});
      encoder.commit_and_wait();
      EXPECT_TRUE(
          rows_near(out.span<float>(), reference::rms_norm(widen(xv), {}, kRow, eps), kRow, 1e-6));
    }
  });
}

TEST(RmsNorm, NanStaysInItsRow) {
  for_each_device([&](const Device& device) {
    for (const size_t bad : {size_t{0}, size_t{20}, size_t{36}}) {
      std::vector<float> xv = random_normal(3 * 37, 9);
      xv[37 + bad] = NAN;
      const Buffer x = device.upload<float>(xv, DType::kF32, {3, 37});
      CommandEncoder encoder(device);
      rms_norm(encoder, {.x = x, .out = x, .eps = kEps});
      encoder.commit_and_wait();
      for (size_t i = 0; i < 3 * 37; ++i)
        EXPECT_EQ(std::isnan(x.span<float>()[i]), i / 37 == 1) << i;
    }
  });
}

class RmsNormErrors : public ::testing::Test {
 protected:
  template <typename Op, typename Args>
  void rejected(Op op, const Args& args, const char* message) {
    try {
      op(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  }

  Device device = Device::cpu();
  CommandEncoder encoder{device};
  Buffer x = device.buffer(DType::kF32, {4, 8}), y = device.buffer(DType::kF32, {4, 8}),
         z = device.buffer(DType::kF32, {4, 8}), w = device.buffer(DType::kF32, {8}),
         half = device.buffer(DType::kF16, {4, 8}), big = device.buffer(DType::kF32, {8, 8});
};

TEST_F(RmsNormErrors, Norm) {
  rejected(rms_norm, RmsNormArgs{.x = {}, .out = y, .eps = kEps},
           "rms_norm: x: expected a buffer, got none");
  rejected(rms_norm, RmsNormArgs{.x = half, .out = y, .eps = kEps},
           "rms_norm: x: dtype must be f32, got f16");
  rejected(rms_norm, RmsNormArgs{.x = x, .out = w, .eps = kEps},
           "rms_norm: out: expected 32 elements as x has, got 8");
  rejected(rms_norm, RmsNormArgs{.x = x, .out = y, .eps = kEps, .weight = y},
           "rms_norm: weight: expected 8 elements as a row of x has, got 32");
  rejected(rms_norm, RmsNormArgs{.x = x, .out = y, .eps = 0},
           "rms_norm: eps: expected a positive finite number, got 0");
  rejected(rms_norm, RmsNormArgs{.x = x, .out = y, .eps = NAN},
           "rms_norm: eps: expected a positive finite number, got nan");
  rejected(rms_norm, RmsNormArgs{.x = big.rows(0, 4), .out = big.rows(1, 4), .eps = kEps},
           "rms_norm: out: must be x itself or not overlap it");
  rejected(rms_norm,
           RmsNormArgs{
               .x = x, .out = big.rows(0, 4), .eps = kEps, .weight = big.rows(3, 1).reshape({8})},
           "rms_norm: out: must not overlap weight");
  const Buffer none = device.buffer(DType::kF32, {0, 8});
  rejected(rms_norm, RmsNormArgs{.x = none, .out = none, .eps = kEps},
           "rms_norm: x: expected 1 to 2^32-1 rows of 1 to 2^32-1 elements, got [0, 8]");
  const Device other = Device::cpu();
  EXPECT_THROW(rms_norm(encoder, {.x = other.buffer(DType::kF32, {4, 8}), .out = y, .eps = kEps}),
               Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

TEST_F(RmsNormErrors, WithResidual) {
  rejected(rms_norm_add, RmsNormAddArgs{.x = x, .weight = {}, .residual = y, .eps = kEps},
           "rms_norm_add: weight: expected a buffer, got none");
  rejected(rms_norm_add, RmsNormAddArgs{.x = x, .weight = w, .residual = x, .eps = kEps},
           "rms_norm_add: residual: must not overlap x");
  rejected(rms_norm_add_norm,
           RmsNormAddNormArgs{
               .x = x, .weight = w, .residual = y, .next_weight = w, .out = y, .eps = kEps},
           "rms_norm_add_norm: out: must not overlap residual");
  rejected(rms_norm_add_norm,
           RmsNormAddNormArgs{
               .x = x, .weight = w, .residual = y, .next_weight = y, .out = z, .eps = kEps},
           "rms_norm_add_norm: next_weight: expected 8 elements as a row of x has, got 32");
  rejected(add_rms_norm,
           AddRmsNormArgs{.a = x, .b = y, .sum = z, .weight = w, .out = z, .eps = kEps},
           "add_rms_norm: out: must not overlap sum");
  rejected(add_rms_norm,
           AddRmsNormArgs{.a = x, .b = half, .sum = z, .weight = w, .out = y, .eps = kEps},
           "add_rms_norm: b: dtype must be f32, got f16");
  rejected(
      add_rms_norm,
      AddRmsNormArgs{
          .a = big.rows(0, 4), .b = x, .sum = big.rows(2, 4), .weight = w, .out = y, .eps = kEps},
      "add_rms_norm: sum: must be a itself or not overlap it");
}

}  // namespace
}  // namespace decant
