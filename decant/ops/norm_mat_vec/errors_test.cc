// Every argument that norm_mat_vec rejects, with the message it gives.
#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/norm_mat_vec/norm_mat_vec.h"

namespace decant {
namespace {

class NormMatVecErrors : public ::testing::Test {
 protected:
  Buffer f32(const Shape& shape) const { return device.buffer(DType::kF32, shape); }
  void rejected(const NormMatVecArgs& args, const char* message,
                ErrorKind kind = ErrorKind::kInvalidArgument) {
    CommandEncoder encoder(device);
    try {
      norm_mat_vec(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  }
  // `good` with something changed.
  template <class Change>
  void rejected(const Change& change, const char* message,
                ErrorKind kind = ErrorKind::kInvalidArgument) {
    NormMatVecArgs args = good;
    change(args);
    rejected(args, message, kind);
  }

  Device device = Device::cpu({.threads = 1});
  Buffer weight = device.buffer(DType::kQ8_0, {4, 64});
  NormMatVecArgs good{.x = f32({64}),
                      .delta = f32({64}),
                      .delta_weight = f32({64}),
                      .x_out = f32({64}),
                      .norm_weight = f32({64}),
                      .eps = 1e-6f,
                      .weights = {weight, weight},
                      .outs = {f32({4}), f32({4})}};
};

TEST_F(NormMatVecErrors, Tensors) {
  using A = NormMatVecArgs;
  rejected([&](A& a) { a.x = {}; }, "norm_mat_vec: x: expected a buffer, got none");
  rejected([&](A& a) { a.x = device.buffer(DType::kF16, {64}); },
           "norm_mat_vec: x: dtype must be f32, got f16");
  rejected([&](A& a) { a.norm_weight = {}; },
           "norm_mat_vec: norm_weight: expected a buffer, got none");
  rejected([&](A& a) { a.norm_weight = f32({63}); },
           "norm_mat_vec: norm_weight: expected 64 elements as x has, got 63");
  rejected([&](A& a) { a.delta = f32({32}); },
           "norm_mat_vec: delta: expected 64 elements as x has, got 32");
  rejected([&](A& a) { a.delta_weight = {}; },
           "norm_mat_vec: delta_weight: expected a buffer, got none");
  rejected([&](A& a) { a.x_out = {}; }, "norm_mat_vec: x_out: expected a buffer, got none");
  rejected([&](A& a) { a.delta = {}; },
           "norm_mat_vec: delta_weight: expected none without a delta");
  rejected(
      [&](A& a) {
        a.delta = {};
        a.delta_weight = {};
      },
      "norm_mat_vec: x_out: expected none without a delta");
  rejected([&](A& a) { a.eps = 0; }, "norm_mat_vec: eps: expected a positive finite number, got 0");
  rejected([&](A& a) { a.eps = INFINITY; },
           "norm_mat_vec: eps: expected a positive finite number, got inf");
}

TEST_F(NormMatVecErrors, Weights) {
  using A = NormMatVecArgs;
  rejected([&](A& a) { a.weights = {}; }, "norm_mat_vec: weights[0]: expected a buffer, got none");
  rejected(
      [&](A& a) {
        a.weights = {weight, {}, weight};
      },
      "norm_mat_vec: weights[2]: expected none, as weights[1] is none");
  rejected(
      [&](A& a) {
        a.weights[1] = device.buffer(DType::kQ8_0, {4, 32});
      },
      "norm_mat_vec: weights[1]: expected [rows, cols] with cols = 64 as x has, got [4, 32]");
  rejected(
      [&](A& a) {
        a.weights[0] = device.buffer(DType::kI8, {4, 64});
      },
      "norm_mat_vec: weights[0]: dtype must be f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, "
      "q2_k, q3_k, q4_k, q5_k or q6_k, got i8",
      ErrorKind::kUnsupportedDtype);
  rejected(
      [&](A& a) {
        a.weights[0] = device.buffer(DType::kQ8_0_X16, {16, 64});
      },
      "norm_mat_vec: weights[0]: dtype must be f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, "
      "q2_k, q3_k, q4_k, q5_k or q6_k, got q8_0_x16",
      ErrorKind::kUnsupportedDtype);
  rejected(
      [&](A& a) {
        a.activations = Activations::kQ8;
        a.weights[0] = device.buffer(DType::kQ8_0_X16, {4, 64});
      },
      "norm_mat_vec: weights[0]: q8_0_x16 needs a multiple of 16 rows, got 4");
  rejected([](A& a) { a.activations = Activations::kQ16; },
           "norm_mat_vec: activations: expected kF32 or kQ8, got kQ16");
  rejected([&](A& a) { a.outs[1] = {}; }, "norm_mat_vec: outs[1]: expected a buffer, got none");
  rejected([&](A& a) { a.outs[1] = f32({5}); },
           "norm_mat_vec: outs[1]: expected 4 elements as its weight has rows, got 5");
  rejected([&](A& a) { a.outs[2] = f32({4}); },
           "norm_mat_vec: outs[2]: expected none, as it has no weight");
  rejected([&](A& a) { a.combine = Combine::kGeluMul; },
           "norm_mat_vec: outs[1]: expected none, as it has no weight");
  rejected(
      [&](A& a) {
        a.combine = Combine::kGeluMul;
        a.weights[1] = device.buffer(DType::kQ8_0, {5, 64});
      },
      "norm_mat_vec: combine: kGeluMul needs two weights of one shape, got 2: [4, 64] and [5, 64]");
}

TEST_F(NormMatVecErrors, Overlaps) {
  using A = NormMatVecArgs;
  rejected([&](A& a) { a.x_out = a.x; }, "norm_mat_vec: x_out: must not overlap x");
  rejected([&](A& a) { a.x_out = a.delta; }, "norm_mat_vec: x_out: must not overlap delta");
  rejected([&](A& a) { a.outs[1] = a.outs[0]; }, "norm_mat_vec: outs[0]: must not overlap outs[1]");
  rejected([&](A& a) { a.outs[1] = a.x.slice(16, {4}); },
           "norm_mat_vec: outs[1]: must not overlap x");
  const Device other = Device::cpu({.threads = 1});
  NormMatVecArgs args = good;
  args.x = other.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  EXPECT_THROW(norm_mat_vec(encoder, args), Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
