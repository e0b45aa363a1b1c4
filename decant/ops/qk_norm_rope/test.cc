#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "decant/core/error.h"
#include "decant/kernels/float16.h"
#include "decant/ops/qk_norm_rope/cases.h"
#include "decant/ops/qk_norm_rope/qk_norm_rope.h"
#include "decant/ops/qk_norm_rope/reference.h"
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

// A rotation per token and pair, not one that any position formula gives: each entry is distinct.
std::vector<float> random_rope(size_t tokens, size_t half, uint64_t seed) {
  const std::vector<float> angles = random_normal(tokens * half, seed, 3.0f);
  std::vector<float> rope(tokens * 2 * half);
  for (size_t t = 0; t < tokens; ++t)
    for (size_t i = 0; i < half; ++i) {
      rope[(t * 2 + 0) * half + i] = std::cos(angles[t * half + i]);
      rope[(t * 2 + 1) * half + i] = std::sin(angles[t * half + i]);
    }
  return rope;
}

TEST(QkNormRope, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const QkNormRopeCase& c : kQkNormRopeCases) {
      SCOPED_TRACE(::testing::Message() << c.tokens << "x" << c.num_heads << "x" << c.head_dim);
      const Shape shape{c.tokens, c.num_heads, c.head_dim};
      const std::vector<float> xv = random_normal(shape.elements(), 1, 4.0f),
                               wv = random_normal(c.head_dim, 2),
                               rv = random_rope(c.tokens, c.head_dim / 2, 3);
      Guarded x(device, DType::kF32, shape), weight(device, DType::kF32, {c.head_dim}),
          rope(device, DType::kF32, {c.tokens, 2, c.head_dim / 2}),
          wide(device, DType::kF32, shape), half(device, DType::kF16, shape);
      x.fill<float>(xv);
      weight.fill<float>(wv);
      rope.fill<float>(rv);
      CommandEncoder encoder(device);
      for (const Guarded* out : {&wide, &half})
        qk_norm_rope(encoder, {.x = x.view(),
                               .weight = weight.view(),
                               .rope = rope.view(),
                               .out = out->view(),
                               .eps = kEps});
      encoder.commit_and_wait();

      const std::span<const float> got = wide.view().span<float>();
      EXPECT_TRUE(
          rows_near(got, reference::qk_norm_rope(xv, wv, rv, c.num_heads, kEps), c.head_dim, 1e-6));
      // f16 is the f32 result, rounded to nearest even.
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(half.view().span<uint16_t>()[i], f16_from_f32(got[i])) << i;

      // In place.
      qk_norm_rope(encoder, {.x = x.view(),
                             .weight = weight.view(),
                             .rope = rope.view(),
                             .out = x.view(),
                             .eps = kEps});
      encoder.commit_and_wait();
      EXPECT_TRUE(bits_equal(x.view().span<float>(), got));
      for (const Guarded* g : {&x, &weight, &rope, &wide, &half}) EXPECT_TRUE(g->intact());
    }
  });
}

TEST(QkNormRope, NanStaysInItsHead) {
  for_each_device([&](const Device& device) {
    std::vector<float> xv = random_normal(2 * 3 * 22, 5);
    xv[4 * 22 + 21] = NAN;
    const std::vector<float> ones(22, 1.0f);
    const Buffer x = device.upload<float>(xv, DType::kF32, {2, 3, 22}),
                 weight = device.upload<float>(ones, DType::kF32, {22}),
                 rope = device.upload<float>(random_rope(2, 11, 6), DType::kF32, {2, 2, 11});
    CommandEncoder encoder(device);
    qk_norm_rope(encoder, {.x = x, .weight = weight, .rope = rope, .out = x, .eps = kEps});
    encoder.commit_and_wait();
    for (size_t i = 0; i < xv.size(); ++i)
      EXPECT_EQ(std::isnan(x.span<float>()[i]), i / 22 == 4) << i;
  });
}

TEST(QkNormRope, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {2, 3, 8}), w = device.buffer(DType::kF32, {8}),
               rope = device.buffer(DType::kF32, {2, 2, 4}),
               out = device.buffer(DType::kF16, {2, 3, 8});
  CommandEncoder encoder(device);
  const auto rejected = [&](const QkNormRopeArgs& args, const char* message) {
    try {
      qk_norm_rope(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.x = {}, .weight = w, .rope = rope, .out = out, .eps = kEps},
           "qk_norm_rope: x: expected a buffer, got none");
  rejected({.x = x, .weight = w, .rope = rope, .out = {}, .eps = kEps},
           "qk_norm_rope: out: expected a buffer, got none");
  rejected({.x = out, .weight = w, .rope = rope, .out = out, .eps = kEps},
           "qk_norm_rope: x: dtype must be f32, got f16");
  rejected({.x = x,
            .weight = w,
            .rope = rope,
            .out = device.buffer(DType::kBF16, {2, 3, 8}),
            .eps = kEps},
           "qk_norm_rope: out: dtype must be f32 or f16, got bf16");
  rejected({.x = x.reshape({6, 8}), .weight = w, .rope = rope, .out = out, .eps = kEps},
           "qk_norm_rope: x: expected the shape [n, num_heads, head_dim] with an even head_dim, "
           "got [6, 8]");
  rejected({.x = x.reshape({2, 8, 3}), .weight = w, .rope = rope, .out = out, .eps = kEps},
           "qk_norm_rope: x: expected the shape [n, num_heads, head_dim] with an even head_dim, "
           "got [2, 8, 3]");
  rejected({.x = x, .weight = rope, .rope = rope, .out = out, .eps = kEps},
           "qk_norm_rope: weight: expected 8 elements as a head of x has, got 16");
  rejected({.x = x, .weight = w, .rope = rope.reshape({2, 4, 2}), .out = out, .eps = kEps},
           "qk_norm_rope: rope: expected the shape [2, 2, 4], got [2, 4, 2]");
  rejected({.x = x, .weight = w, .rope = rope, .out = rope, .eps = kEps},
           "qk_norm_rope: out: expected 48 elements as x has, got 16");
  rejected({.x = x, .weight = w, .rope = rope, .out = out, .eps = -1},
           "qk_norm_rope: eps: expected a positive finite number, got -1");
  rejected(
      {.x = x, .weight = w, .rope = rope, .out = x.slice(0, DType::kF16, {2, 3, 8}), .eps = kEps},
      "qk_norm_rope: out: must be x itself (both f32) or not overlap it");
  const Buffer big = device.buffer(DType::kF32, {64});
  rejected({.x = x,
            .weight = big.slice(160, {8}),
            .rope = rope,
            .out = big.slice(0, {2, 3, 8}),
            .eps = kEps},
           "qk_norm_rope: out: must not overlap weight");
  rejected({.x = x,
            .weight = w,
            .rope = big.slice(160, {2, 2, 4}),
            .out = big.slice(0, {2, 3, 8}),
            .eps = kEps},
           "qk_norm_rope: out: must not overlap rope");
  EXPECT_THROW(qk_norm_rope(encoder, {.x = other.buffer(DType::kF32, {2, 3, 8}),
                                      .weight = w,
                                      .rope = rope,
                                      .out = out,
                                      .eps = kEps}),
               Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
