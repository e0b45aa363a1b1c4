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
  for (const uint32_t threads : {1u, 2u, 4u}) {
    const Device device = Device::cpu({.threads = threads});
    for (const NormMatVecCase& c : {kNormMatVecBenches[0], kNormMatVecBenches[1]}) {
      SCOPED_TRACE(describe(c));
      Tensors t(device, c);
      const NormMatVecPlan made = plan(t.args(), device);
      // A thread that has one group less waits for about an eighth of its share; but each group
      // costs a tenth of a microsecond of some 30.
      EXPECT_GE(made.launch.grid.x, 7 * threads);
      EXPECT_LE(made.launch.grid.x, 16 * threads);
    }
  }
}

}  // namespace
}  // namespace decant
