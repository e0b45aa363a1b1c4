#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/gelu_mul/cases.h"
#include "decant/ops/gelu_mul/gelu_mul.h"
#include "decant/ops/gelu_mul/reference.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;
using testing::rows_near;

TEST(GeluMul, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const GeluMulCase& c : kGeluMulCases) {
      SCOPED_TRACE(c.elements);
      Guarded gate(device, DType::kF32, {c.elements}), up(device, DType::kF32, {c.elements}),
          out(device, DType::kF32, {c.elements});
      const std::vector<float> g = random_normal(c.elements, 1, 3.0f);
      const std::vector<float> u = random_normal(c.elements, 2);
      gate.fill<float>(g);
      up.fill<float>(u);
      CommandEncoder encoder(device);
      gelu_mul(encoder, {.gate = gate.view(), .up = up.view(), .out = out.view()});
      encoder.commit_and_wait();

      // Element by element, against |gate * up|: gelu cancels to nothing for negative inputs.
      std::vector<double> scale(c.elements);
      for (size_t i = 0; i < c.elements; ++i) scale[i] = std::abs(double{g[i]} * u[i]);
      EXPECT_TRUE(rows_near(out.view().span<float>(), reference::gelu_mul(g, u), 1, 1e-6, scale));
      EXPECT_TRUE(out.intact());
      EXPECT_TRUE(gate.intact());
    }
  });
}

TEST(GeluMul, ExtremesAndInPlace) {
  for_each_device([&](const Device& device) {
    const std::vector<float> g = {-1e30f, -100, -10, -0.0f, 0, 10, 100, 1e12f, 3e38f};
    const std::vector<float> u(g.size(), 0.5f);
    const Buffer gate = device.upload<float>(g, DType::kF32, {g.size()});
    const Buffer up = device.upload<float>(u, DType::kF32, {u.size()});
    CommandEncoder encoder(device);
    gelu_mul(encoder, {.gate = gate, .up = up, .out = gate});
    encoder.commit_and_wait();
    const std::span<const float> out = gate.span<float>();
    for (size_t i = 0; i < 2; ++i) EXPECT_EQ(std::abs(out[i]), 0) << i;
    EXPECT_EQ(out[7], 0.5e12f);
    EXPECT_EQ(out[8], 1.5e38f);
  });
}

TEST(GeluMul, NanStaysNan) {
  for_each_device([&](const Device& device) {
    std::vector<float> g(40, 1.0f), u(40, 1.0f);
    g[3] = g[39] = NAN;
    const Buffer gate = device.upload<float>(g, DType::kF32, {40});
    const Buffer up = device.upload<float>(u, DType::kF32, {40});
    CommandEncoder encoder(device);
    gelu_mul(encoder, {.gate = gate, .up = up, .out = up});
    encoder.commit_and_wait();
    for (size_t i = 0; i < 40; ++i)
      EXPECT_EQ(std::isnan(up.span<float>()[i]), std::isnan(g[i])) << i;
  });
}

TEST(GeluMul, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer f32 = device.buffer(DType::kF32, {8}), f16 = device.buffer(DType::kF16, {8}),
               short_one = device.buffer(DType::kF32, {7});
  CommandEncoder encoder(device);
  const auto rejected = [&](const GeluMulArgs& args, const char* message) {
    try {
      gelu_mul(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.gate = f16, .up = f32, .out = f32}, "gelu_mul: gate: dtype must be f32, got f16");
  rejected({.gate = f32, .up = short_one, .out = f32},
           "gelu_mul: up: expected 8 elements as gate has, got 7");
  rejected({.gate = f32, .up = f32, .out = {}}, "gelu_mul: out: expected a buffer, got none");
  EXPECT_THROW(gelu_mul(encoder, {.gate = other.buffer(DType::kF32, {8}), .up = f32, .out = f32}),
               Error);
  const Buffer big = device.buffer(DType::kF32, {16});
  rejected({.gate = big.rows(0, 8), .up = f32, .out = big.rows(4, 8)},
           "gelu_mul: out: must be an input itself or not overlap it");
}

}  // namespace
}  // namespace decant
