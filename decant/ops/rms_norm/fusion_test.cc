// The fusion rules on real ops: what is fused, and that a replay gives the bits of eager execution.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "decant/core/graph.h"
#include "decant/ops/elementwise/elementwise.h"
#include "decant/ops/rms_norm/rms_norm.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/simd_targets.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_simd_target;
using testing::random_normal;

constexpr uint64_t kRows = 3, kRow = 83;  // vectors and a tail
constexpr float kEps = 1e-6f;

class RmsNormFusion : public ::testing::Test {
 protected:
  Buffer random(uint64_t seed, const Shape& shape) {
    return device.upload<float>(random_normal(shape.elements(), seed), DType::kF32, shape);
  }
  Buffer scratch() { return device.buffer(DType::kF32, {kRows, kRow}, Usage::kScratch); }

  static std::vector<std::vector<float>> contents(const std::vector<Buffer>& buffers) {
    std::vector<std::vector<float>> all;
    all.reserve(buffers.size());
    for (const Buffer& buffer : buffers) {
      const std::span<const float> values = buffer.span<const float>();
      all.emplace_back(values.begin(), values.end());
    }
    return all;
  }

  // Runs `record` eagerly and as a graph on every target, from the same content of `results`, and
  // compares them. Returns the kernels that the graph runs, one line each.
  std::string kernels_of(const std::function<void(CommandEncoder&)>& record,
                         const std::vector<Buffer>& results) {
    const std::vector<std::vector<float>> initial = contents(results);
    const auto reset = [&] {
      for (size_t i = 0; i < results.size(); ++i)
        device.write(results[i], std::as_bytes(std::span(initial[i])));
    };
    Graph graph = Graph::capture(device, record);
    for_each_simd_target([&](const std::string&) {
      reset();
      CommandEncoder encoder(device);
      record(encoder);
      encoder.commit_and_wait();
      const std::vector<std::vector<float>> eager = contents(results);
      reset();
      graph.replay_and_wait();
      for (size_t i = 0; i < results.size(); ++i)
        EXPECT_TRUE(bits_equal(results[i].span<float>(), eager[i])) << "result " << i;
    });
    const std::string& text = graph.describe();
    std::string kernels;
    for (size_t at = text.find("runs: "); (at = text.find("\n  ", at)) != std::string::npos;) {
      at += 3;
      if (text[at] != '-') kernels += text.substr(at, text.find(' ', at) - at) + "\n";
    }
    return kernels;
  }

  Device device = testing::test_device({.threads = 2});
  Buffer x = random(1, {kRows, kRow}), y = random(2, {kRows, kRow}), w = random(3, {kRow}),
         w2 = random(4, {kRow}), residual = random(5, {kRows, kRow}),
         out = random(6, {kRows, kRow}), out2 = random(7, {kRows, kRow}), t = scratch(),
         t2 = scratch();
};

// The first use of the ops is inside the capture: the rules are there in time.
TEST_F(RmsNormFusion, NormTimesWeight) {
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm(e, {.x = x, .out = t, .eps = kEps});
                  mul(e, {.a = t, .b = w, .out = out});
                },
                {out}),
            "rms_norm_weight_f32\n");
}

TEST_F(RmsNormFusion, NormTimesWeightInPlace) {
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm(e, {.x = x, .out = out, .eps = kEps});
                  mul(e, {.a = out, .b = w, .out = out});
                },
                {out}),
            "rms_norm_weight_f32\n");
}

TEST_F(RmsNormFusion, NormTimesSomethingElse) {
  // Factors for each element are no weight.
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm(e, {.x = x, .out = t, .eps = kEps});
                  mul(e, {.a = t, .b = y, .out = out});
                },
                {out}),
            "rms_norm_f32\nmul_f32\n");
  // Nor is a row of another length.
  const Buffer square = random(8, {4, 16}), row = random(9, {8});
  const Buffer between = device.buffer(DType::kF32, {4, 16}, Usage::kScratch),
               result = device.buffer(DType::kF32, {8, 8});
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm(e, {.x = square, .out = between, .eps = kEps});
                  mul(e, {.a = between.reshape({8, 8}), .b = row, .out = result});
                },
                {result}),
            "rms_norm_f32\nmul_f32\n");
}

TEST_F(RmsNormFusion, GemmaBetweenBlocks) {
  // The second norm has an eps of its own.
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm_add(e, {.x = x, .weight = w, .residual = residual, .eps = 0.5f});
                  rms_norm(e, {.x = residual, .out = out, .eps = 2.0f, .weight = w2});
                },
                {residual, out}),
            "rms_norm_add_norm_f32\n");
}

TEST_F(RmsNormFusion, ResidualReadInBetween) {
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm_add(e, {.x = x, .weight = w, .residual = residual, .eps = kEps});
                  add(e, {.a = residual, .b = y, .out = out2});
                  rms_norm(e, {.x = residual, .out = out, .eps = kEps, .weight = w2});
                },
                {residual, out, out2}),
            "rms_norm_add_f32\nadd_f32\nrms_norm_weight_f32\n");
}

// h = norm(residual) goes where the projection's result came from.
TEST_F(RmsNormFusion, OutputOverTheInputStaysApart) {
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm_add(e, {.x = x, .weight = w, .residual = residual, .eps = kEps});
                  rms_norm(e, {.x = residual, .out = x, .eps = kEps, .weight = w2});
                },
                {residual, x}),
            "rms_norm_add_f32\nrms_norm_weight_f32\n");
}

TEST_F(RmsNormFusion, AddThenNorm) {
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  add(e, {.a = residual, .b = x, .out = residual});
                  rms_norm(e, {.x = residual, .out = out, .eps = kEps, .weight = w});
                },
                {residual, out}),
            "add_rms_norm_f32\n");
  // A bias is no residual.
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  add(e, {.a = x, .b = w2, .out = t});
                  rms_norm(e, {.x = t, .out = out, .eps = kEps, .weight = w});
                },
                {out}),
            "add_f32\nrms_norm_weight_f32\n");
}

// Five single steps become the one kernel that stands between two blocks.
TEST_F(RmsNormFusion, FromSingleSteps) {
  EXPECT_EQ(kernels_of(
                [&](CommandEncoder& e) {
                  rms_norm(e, {.x = x, .out = t, .eps = kEps});
                  mul(e, {.a = t, .b = w, .out = t2});
                  add(e, {.a = residual, .b = t2, .out = residual});
                  rms_norm(e, {.x = residual, .out = t, .eps = kEps});
                  mul(e, {.a = t, .b = w2, .out = out});
                },
                {residual, out}),
            "rms_norm_add_norm_f32\n");
}

}  // namespace
}  // namespace decant
