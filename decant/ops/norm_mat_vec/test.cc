#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <optional>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/gelu_mul/gelu_mul.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/norm_mat_vec/cases.h"
#include "decant/ops/norm_mat_vec/norm_mat_vec.h"
#include "decant/ops/norm_mat_vec/reference.h"
#include "decant/ops/pack_weights/pack_weights.h"
#include "decant/ops/rms_norm/rms_norm.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"
#include "testing/random_weights.h"
#include "testing/simd_targets.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::decoded;
using testing::for_each_device;
using testing::for_each_simd_target;
using testing::Guarded;
using testing::random_normal;
using testing::random_weights;
using testing::rows_near;

constexpr float kEps = 1e-6f;

std::string describe(const NormMatVecCase& c) {
  std::string text = fmt::format("{} columns{}{}", c.cols, c.delta ? ", delta" : "",
                                 c.gelu_mul ? ", gelu_mul" : "");
  for (size_t i = 0; i < 3; ++i)
    if (c.rows[i]) text += fmt::format(", {} rows {}", c.rows[i], to_string(c.dtypes[i]));
  return text;
}

// One case's tensors between poisoned guards.
struct Tensors {
  Tensors(const Device& device, const NormMatVecCase& which)
      : c(which),
        x(device, DType::kF32, {c.cols}),
        delta(device, DType::kF32, {c.cols}),
        delta_weight(device, DType::kF32, {c.cols}),
        x_out(device, DType::kF32, {c.cols}),
        norm_weight(device, DType::kF32, {c.cols}) {
    for (Guarded* g : {&x, &delta, &delta_weight, &norm_weight}) {
      values.push_back(random_normal(c.cols, c.cols + values.size()));
      g->fill<float>(values.back());
    }
    for (size_t i = 0; i < 3 && c.rows[i]; ++i) {
      const std::vector<std::byte> bytes =
          random_weights(c.dtypes[i], size_t{c.rows[i]} * c.cols, i + 1);
      weights.push_back(std::make_unique<Guarded>(device, c.dtypes[i], Shape{c.rows[i], c.cols}));
      weights.back()->fill(bytes);
      weight_values.push_back(decoded(c.dtypes[i], bytes));
      if (i == 0 || !c.gelu_mul)
        outs.push_back(std::make_unique<Guarded>(device, DType::kF32, Shape{c.rows[i]}));
    }
  }

  NormMatVecArgs args() const {
    NormMatVecArgs args{.x = x.view(),
                        .norm_weight = norm_weight.view(),
                        .eps = kEps,
                        .weights = {},
                        .outs = {},
                        .combine = c.gelu_mul ? Combine::kGeluMul : Combine::kNone};
    if (c.delta) {
      args.delta = delta.view();
      args.delta_weight = delta_weight.view();
      args.x_out = x_out.view();
    }
    for (size_t i = 0; i < weights.size(); ++i) args.weights[i] = weights[i]->view();
    for (size_t i = 0; i < outs.size(); ++i) args.outs[i] = outs[i]->view();
    return args;
  }

  void run(const Device& device, Activations activations = Activations::kF32) {
    x_out.poison();
    for (const auto& out : outs) out->poison();
    CommandEncoder encoder(device);
    NormMatVecArgs with = args();
    with.activations = activations;
    norm_mat_vec(encoder, with);
    encoder.commit_and_wait();
  }

  // x_out, if there is one, then the outs.
  std::vector<float> results() const {
    std::vector<float> all;
    const auto append = [&](const Buffer& buffer) {
      const std::span<const float> got = buffer.span<const float>();
      all.insert(all.end(), got.begin(), got.end());
    };
    if (c.delta) append(x_out.view());
    for (const auto& out : outs) append(out->view());
    return all;
  }

  bool intact() const {
    bool all = x.intact() && delta.intact() && delta_weight.intact() && x_out.intact() &&
               norm_weight.intact();
    for (const auto& g : weights) all = all && g->intact();
    for (const auto& g : outs) all = all && g->intact();
    return all;
  }

  NormMatVecCase c;
  Guarded x, delta, delta_weight, x_out, norm_weight;
  std::vector<std::unique_ptr<Guarded>> weights, outs;
  std::vector<std::vector<float>> values;         // x, delta, delta_weight, norm_weight
  std::vector<std::vector<float>> weight_values;  // decoded
};

double norm(const auto& v) {
  double sum = 0;
  for (const double e : v) sum += e * e;
  return std::sqrt(sum);
}

TEST(NormMatVec, MatchesReference) {
  for (const NormMatVecCase& c : kNormMatVecCases) {
    SCOPED_TRACE(describe(c));
    const Tensors values(Device::cpu({.threads = 1}), c);
    const reference::NormMatVec want = reference::norm_mat_vec(
        values.values[0],
        c.delta ? std::span<const float>(values.values[1]) : std::span<const float>(),
        values.values[2], values.values[3], double{kEps}, values.weight_values, c.gelu_mul);
    for_each_device([&](const Device& device) {
      Tensors t(device, c);
      t.run(device);
      if (c.delta) {
        EXPECT_TRUE(rows_near(t.x_out.view().span<float>(), want.x, c.cols, 1e-6));
      }
      for (size_t i = 0; i < t.outs.size(); ++i) {
        SCOPED_TRACE(i);
        // Each output by itself: its error is one of a sum over a row, in units of
        // ||row|| * ||h||; a product with gelu has that of both factors.
        std::vector<double> scale;
        for (size_t r = 0; r < c.rows[i]; ++r) {
          const auto row_norm = [&](size_t w) {
            return norm(std::span(t.weight_values[w]).subspan(r * c.cols, c.cols)) * norm(want.h);
          };
          scale.push_back(c.gelu_mul ? row_norm(0) * row_norm(1) : row_norm(i));
        }
        // CUDA kernels round h for block formats to 2^-23 of the greatest of 32.
        const double bound = device.info().backend == BackendKind::kCuda ? 6e-6 : 3e-6;
        EXPECT_TRUE(rows_near(t.outs[i]->view().span<float>(), want.outs[i], 1, bound, scale));
      }
      EXPECT_TRUE(t.intact());
    });
  }
}

TEST(NormMatVec, GivesTheBitsOfTheSingleOps) {
  const Device device = Device::cpu({.threads = 2});
  for (const NormMatVecCase& c : kNormMatVecCases) {
    SCOPED_TRACE(describe(c));
    Tensors t(device, c);
    const auto row = [&] { return device.buffer(DType::kF32, {1, c.cols}); };
    const Buffer x = row(), h = row();
    std::vector<Buffer> outs;
    for (size_t i = 0; i < t.weights.size(); ++i)
      outs.push_back(device.buffer(DType::kF32, {1, c.rows[i]}));
    for (const Activations activations : {Activations::kF32, Activations::kQ8})
      for_each_simd_target([&](const std::string&) {
        device.write(x, std::as_bytes(std::span(t.values[0])));
        CommandEncoder encoder(device);
        if (c.delta)
          rms_norm_add(encoder, {.x = t.delta.view().reshape({1, c.cols}),
                                 .weight = t.delta_weight.view(),
                                 .residual = x,
                                 .eps = kEps});
        rms_norm(encoder, {.x = x, .out = h, .eps = kEps, .weight = t.norm_weight.view()});
        for (size_t i = 0; i < outs.size(); ++i)
          mat_mul(
              encoder,
              {.weight = t.weights[i]->view(), .x = h, .out = outs[i], .activations = activations});
        if (c.gelu_mul) gelu_mul(encoder, {.gate = outs[0], .up = outs[1], .out = outs[0]});
        encoder.commit_and_wait();
        std::vector<float> want;
        const auto append = [&](const Buffer& buffer) {
          const std::span<const float> got = buffer.span<const float>();
          want.insert(want.end(), got.begin(), got.end());
        };
        if (c.delta) append(x);
        for (size_t i = 0; i < t.outs.size(); ++i) append(outs[i]);
        t.run(device, activations);
        EXPECT_TRUE(bits_equal(t.results(), want));
      });
  }
}

// Packed weights give other roundings: a lane sums other products.
TEST(NormMatVec, PackedWeightsMatchTheReference) {
  const Device device = Device::cpu({.threads = 2});
  for (const NormMatVecCase& c : kNormMatVecPackedCases) {
    SCOPED_TRACE(describe(c));
    Tensors t(device, c);
    t.run(device, Activations::kQ8);
    const std::vector<float> want = t.results();
    CommandEncoder encoder(device);
    for (size_t i = 0; i < t.weights.size(); ++i) {
      const Buffer raw = t.weights[i]->view();
      if (!can_pack_weights(device, raw)) continue;
      auto packed = std::make_unique<Guarded>(device, x16_of(raw.dtype()).value(), raw.shape());
      pack_weights(encoder, {.weight = raw, .out = packed->view()});
      encoder.commit_and_wait();
      t.weights[i] = std::move(packed);
    }
    for_each_simd_target([&](const std::string&) {
      t.run(device, Activations::kQ8);
      const std::vector<float> got = t.results();
      EXPECT_TRUE(rows_near(got, std::vector<double>(want.begin(), want.end()), got.size(), 1e-6));
      EXPECT_TRUE(t.intact());
    });
  }
}

TEST(NormMatVec, ResultsDoNotDependOnThreads) {
  for (const NormMatVecCase& c : kNormMatVecCases) {
    SCOPED_TRACE(describe(c));
    for (const Activations activations : {Activations::kF32, Activations::kQ8}) {
      std::vector<float> first;
      for (const uint32_t threads : {1u, 2u, 3u, 4u}) {
        const Device device = Device::cpu({.threads = threads});
        Tensors t(device, c);
        for (int round = 0; round < 5; ++round) {
          t.run(device, activations);
          if (first.empty()) first = t.results();
          EXPECT_TRUE(bits_equal(t.results(), first)) << threads << " threads";
        }
      }
    }
  }
}

// A NaN in x reaches x_out in one place and every output.
TEST(NormMatVec, NanReachesEveryOutput) {
  const NormMatVecCase c{640, {37, 37, 0}, {DType::kQ5_0, DType::kQ8_0, {}}, false, true};
  for_each_device([&](const Device& device) {
    Tensors t(device, c);
    t.values[0][333] = NAN;
    t.x.fill<float>(t.values[0]);
    t.run(device);
    for (uint32_t i = 0; i < c.cols; ++i)
      EXPECT_EQ(std::isnan(t.x_out.view().span<float>()[i]), i == 333) << i;
    for (const auto& out : t.outs)
      for (const float v : out->view().span<float>()) EXPECT_TRUE(std::isnan(v));
  });
}

TEST(NormMatVec, ThreadsShareABlockEvenly) {
  const Device device = Device::cpu({.threads = 1});
  for (const NormMatVecCase& c : {kNormMatVecBenches[0], kNormMatVecBenches[1]}) {
    SCOPED_TRACE(describe(c));
    Tensors t(device, c);
    const NormMatVecPlan made = plan(t.args(), device);
    // So many groups of about equal size that one more or less is 3% of a thread's half.
    EXPECT_GE(made.launch.grid.x, 30u);
    EXPECT_LE(made.launch.grid.x, 100u);
  }
}

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
                      .eps = kEps,
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
