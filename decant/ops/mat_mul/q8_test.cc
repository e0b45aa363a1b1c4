// mat_mul with activations rounded to 8 bits, against a double-precision product of the rounded
// values: the rounding itself is part of the contract, what remains is the error of f32 sums.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/q8_reference.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/mat_mul/cases.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/mat_mul/reference.h"
#include "decant/ops/pack_weights/pack_weights.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"
#include "testing/random_weights.h"
#include "testing/simd_targets.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::decoded;
using testing::for_each_simd_target;
using testing::Guarded;
using testing::kWeightDTypes;
using testing::random_normal;
using testing::random_weights;
using testing::rows_near;

constexpr double kBound = 1e-6;  // of ||weight row|| * ||x row||, as with f32 activations

template <class T>
double norm(std::span<const T> v) {
  double sum = 0;
  for (const double e : v) sum += e * e;
  return std::sqrt(sum);
}

struct Problem {
  Activations activations;
  DType dtype;
  uint32_t rows, cols, tokens;
  std::vector<std::byte> weight;
  std::vector<float> x;
  std::vector<double> want;
  std::vector<double> scale;  // ||weight row|| * ||x row|| of each output
};

Problem make_problem(DType dtype, const MatMulShape& shape, uint32_t tokens,
                     std::vector<std::byte> weight, std::vector<float> x,
                     Activations activations = Activations::kQ8) {
  const size_t cols = shape.cols;
  Problem p{.activations = activations,
            .dtype = dtype,
            .rows = shape.rows,
            .cols = shape.cols,
            .tokens = tokens,
            .weight = std::move(weight),
            .x = std::move(x),
            .want = {},
            .scale = {}};
  const std::vector<float> values = decoded(dtype, p.weight);
  const std::vector<double> rounded =
      !is_quantized(dtype)                ? std::vector<double>(p.x.begin(), p.x.end())
      : p.activations == Activations::kQ8 ? reference::rounded_q8(p.x)
                                          : reference::rounded_q16(p.x);
  p.want = reference::mat_mul<double>(values, rounded, cols);
  for (size_t t = 0; t < tokens; ++t)
    for (size_t r = 0; r < shape.rows; ++r)
      p.scale.push_back(norm<float>(std::span(values).subspan(r * cols, cols)) *
                        norm<double>(std::span(rounded).subspan(t * cols, cols)));
  return p;
}

// `packed`: with the weight in the order of pack_weights.
std::vector<float> run(const Device& device, const Problem& p, uint32_t tokens,
                       bool packed = false) {
  const DType dtype = packed ? x16_of(p.dtype).value() : p.dtype;
  Guarded weight(device, dtype, {p.rows, p.cols}), x(device, DType::kF32, {tokens, p.cols}),
      out(device, DType::kF32, {tokens, p.rows});
  CommandEncoder encoder(device);
  if (packed) {
    const Buffer raw = device.upload<std::byte>(p.weight, p.dtype, {p.rows, p.cols});
    pack_weights(encoder, {.weight = raw, .out = weight.view()});
  } else {
    weight.fill(p.weight);
  }
  x.fill<float>(std::span(p.x).first(size_t{tokens} * p.cols));
  mat_mul(
      encoder,
      {.weight = weight.view(), .x = x.view(), .out = out.view(), .activations = p.activations});
  encoder.commit_and_wait();
  EXPECT_TRUE(out.intact());
  EXPECT_TRUE(weight.intact());
  EXPECT_TRUE(x.intact());
  const std::span<const float> got = out.view().span<float>();
  return {got.begin(), got.end()};
}

void check(const Device& device, const Problem& p, uint32_t tokens, bool packed = false) {
  SCOPED_TRACE(fmt::format("{} [{}, {}], {} tokens", to_string(p.dtype), p.rows, p.cols, tokens));
  const size_t outputs = size_t{tokens} * p.rows;
  EXPECT_TRUE(rows_near(run(device, p, tokens, packed), std::span(p.want).first(outputs), 1, kBound,
                        std::span(p.scale).first(outputs)));
}

TEST(MatMulQ8, MatchesReference) {
  const Device device = testing::test_device({.threads = 1});
  constexpr uint32_t kMostTokens = 64;
  std::vector<Problem> all;
  for (const DType dtype : kWeightDTypes)
    for (const MatMulShape& shape : kMatMulShapes)
      if (shape.cols % info(dtype).block_elems == 0)
        all.push_back(make_problem(
            dtype, shape, kMostTokens,
            random_weights(dtype, size_t{shape.rows} * shape.cols, shape.rows * 7919 + shape.cols),
            random_normal(size_t{kMostTokens} * shape.cols, shape.cols)));
  for_each_simd_target([&](const std::string&) {
    for (const Problem& p : all)
      for (const uint32_t tokens : kMatMulTokens) check(device, p, tokens);
  });
}

TEST(MatMulQ8, PackedWeightsMatchTheReference) {
  constexpr uint32_t kMostTokens = 7;
  std::vector<Problem> all;
  for (const DType dtype : {DType::kQ4_0, DType::kQ5_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K})
    for (const MatMulShape& shape :
         {MatMulShape{16, 32}, {16, 256}, {48, 640}, {160, 1152}, {1024, 96}, {80, 1024}})
      for (const Activations activations : {Activations::kQ8, Activations::kQ16})
        if (shape.cols % info(dtype).block_elems == 0)
          all.push_back(make_problem(dtype, shape, kMostTokens,
                                     random_weights(dtype, size_t{shape.rows} * shape.cols,
                                                    shape.rows * 7919 + shape.cols),
                                     random_normal(size_t{kMostTokens} * shape.cols, shape.cols),
                                     activations));
  const Device device = testing::test_device({.threads = 2});
  for_each_simd_target([&](const std::string&) {
    for (const Problem& p : all)
      for (const uint32_t tokens : {1u, 3u, kMostTokens}) {
        check(device, p, tokens, true);
        EXPECT_TRUE(bits_equal(run(device, p, tokens, true),
                               run(testing::test_device({.threads = 1}), p, tokens, true)));
      }
  });
}

// What rounding to 16 bits costs: 2^-16 of the greatest of each 32, about 1e-5 of the row.
TEST(MatMulQ8, SixteenBitsAreNearlyAll) {
  const Device device = testing::test_device({.threads = 1});
  const MatMulShape shape{64, 1024};
  Problem p = make_problem(DType::kQ4_K, shape, 1,
                           random_weights(DType::kQ4_K, size_t{shape.rows} * shape.cols, 3),
                           random_normal(shape.cols, 4), Activations::kQ16);
  p.want = reference::mat_mul<double>(decoded(p.dtype, p.weight),
                                      std::vector<double>(p.x.begin(), p.x.end()), shape.cols);
  EXPECT_TRUE(rows_near(run(device, p, 1, true), p.want, 1, 2e-5, p.scale));
  p.activations = Activations::kQ8;
  EXPECT_FALSE(rows_near(run(device, p, 1, true), p.want, 1, 2e-5, p.scale));
}

TEST(MatMulQ8, PackedWeightsAreForCpusWithRoundedActivations) {
  const Device device = testing::test_device({.threads = 1});
  const auto message = [&](const MatMulArgs& args) -> std::string {
    CommandEncoder encoder(device);
    try {
      mat_mul(encoder, args);
    } catch (const Error& e) {
      EXPECT_TRUE(encoder.commands().dispatches.empty());
      return e.what();
    }
    return "accepted";
  };
  MatMulArgs args{.weight = device.buffer(DType::kQ8_0_X16, {16, 64}),
                  .x = device.buffer(DType::kF32, {1, 64}),
                  .out = device.buffer(DType::kF32, {1, 16})};
  EXPECT_EQ(message(args), "mat_mul: weight: q8_0_x16 is for CPUs, with activations kQ8 or kQ16");
  args.activations = Activations::kQ8;
  args.weight = device.buffer(DType::kQ8_0_X16, {8, 64});
  args.out = device.buffer(DType::kF32, {1, 8});
  EXPECT_EQ(message(args), "mat_mul: weight: q8_0_x16 needs a multiple of 16 rows, got 8");
}

// Integers at the ends of their range, where sums of products in 16 bits come closest to
// overflowing: activations all of one sign, weights' bytes all equal.
TEST(MatMulQ8, ExtremeIntegers) {
  const Device device = testing::test_device({.threads = 1});
  const MatMulShape shape{16, 512};
  constexpr uint32_t kTokens = 8;
  std::vector<Problem> all;
  for (const DType dtype : kWeightDTypes)
    for (const int byte : {0x00, 0x7F, 0x80, 0x81, 0xFF})
      for (const float value : {1.0f, -1.0f})
        if (is_quantized(dtype))
          all.push_back(
              make_problem(dtype, shape, kTokens,
                           testing::uniform_weights(dtype, size_t{shape.rows} * shape.cols,
                                                    static_cast<std::byte>(byte), 3),
                           std::vector<float>(size_t{kTokens} * shape.cols, value)));
  for_each_simd_target([&](const std::string&) {
    for (const Problem& p : all)
      for (const uint32_t tokens : {1u, kTokens}) {
        check(device, p, tokens);
        if (x16_of(p.dtype)) check(device, p, tokens, true);
      }
  });
}

// Groups of 32 activations of very different magnitude; those too small to have a scale count as 0.
TEST(MatMulQ8, MagnitudesOfGroups) {
  const Device device = testing::test_device({.threads = 1});
  const MatMulShape shape{7, 512};
  std::vector<Problem> all;
  for (const DType dtype : kWeightDTypes) {
    std::vector<float> x = random_normal(size_t{8} * shape.cols, 5);
    const float magnitudes[] = {1e30f, 1e-25f, 0x1p-100f, 0x1p-101f, 0, 1e-45f, 1, 1e10f};
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t token = i / shape.cols, group = i / kQ8Elems;
      x[i] *= magnitudes[token == 0 ? group % 8 : token];
    }
    all.push_back(make_problem(dtype, shape, 8,
                               random_weights(dtype, size_t{shape.rows} * shape.cols, 1), x));
  }
  for_each_simd_target([&](const std::string&) {
    for (const Problem& p : all)
      if (is_quantized(p.dtype))
        for (const uint32_t tokens : {1u, 2u, 8u}) check(device, p, tokens);
  });
}

TEST(MatMulQ8, ResultsDoNotDependOnThreads) {
  for_each_simd_target([&](const std::string&) {
    for (const DType dtype : kWeightDTypes)
      for (const uint32_t tokens : {1u, 3u, 7u, 300u}) {
        SCOPED_TRACE(fmt::format("{}, {} tokens", to_string(dtype), tokens));
        const MatMulShape shape{333, 768};
        const Problem p{.activations = Activations::kQ8,
                        .dtype = dtype,
                        .rows = shape.rows,
                        .cols = shape.cols,
                        .tokens = tokens,
                        .weight = random_weights(dtype, size_t{shape.rows} * shape.cols, 1),
                        .x = random_normal(size_t{tokens} * shape.cols, 2),
                        .want = {},
                        .scale = {}};
        const std::vector<float> first = run(testing::test_device({.threads = 1}), p, tokens);
        for (const uint32_t threads : {2u, 3u, 4u})
          EXPECT_TRUE(bits_equal(run(testing::test_device({.threads = threads}), p, tokens), first))
              << threads << " threads";
      }
  });
}

// A NaN or an infinity in x makes every output of its token NaN, and no other token's.
TEST(MatMulQ8, NanStaysInItsToken) {
  const Device device = testing::test_device({.threads = 1});
  const MatMulShape shape{37, 512};
  for_each_simd_target([&](const std::string&) {
    for (const DType dtype : kWeightDTypes)
      for (const uint32_t tokens : {2u, 20u})
        for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -HUGE_VALF, HUGE_VALF}) {
          if (!is_quantized(dtype)) continue;
          Problem p{.activations = Activations::kQ8,
                    .dtype = dtype,
                    .rows = shape.rows,
                    .cols = shape.cols,
                    .tokens = tokens,
                    .weight = random_weights(dtype, size_t{shape.rows} * shape.cols, 1),
                    .x = std::vector<float>(size_t{tokens} * shape.cols, 0.5f),
                    .want = {},
                    .scale = {}};
          p.x[shape.cols + 300] = bad;
          const std::vector<float> out = run(device, p, tokens);
          for (uint32_t i = 0; i < tokens * shape.rows; ++i)
            ASSERT_EQ(std::isnan(out[i]), i / shape.rows == 1)
                << to_string(dtype) << ", token " << i / shape.rows << ", row " << i % shape.rows;
        }
  });
}

// Formats without blocks keep f32 activations.
TEST(MatMulQ8, PlainFormatsAreNotRounded) {
  const Device device = testing::test_device({.threads = 1});
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16})
    for (const MatMulShape& shape : kMatMulPlainShapes) {
      const Problem p =
          make_problem(dtype, shape, 8, random_weights(dtype, size_t{shape.rows} * shape.cols, 1),
                       random_normal(size_t{8} * shape.cols, 1));
      for (const uint32_t tokens : {1u, 8u}) check(device, p, tokens);
    }
}

}  // namespace
}  // namespace decant
