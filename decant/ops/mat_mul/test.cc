#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "decant/core/error.h"
#include "decant/ops/mat_mul/cases.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/mat_mul/reference.h"
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
using testing::kWeightDTypes;
using testing::random_normal;
using testing::random_weights;
using testing::rows_near;

constexpr uint32_t kMostTokens = 64;

// In units of ||weight row|| * ||x row||. CUDA kernels round activations that meet a block format
// to 2^-23 of the greatest of 32, and add to one sum over all columns.
double bound(const Device& device) {
  return device.info().backend == BackendKind::kCuda ? 2e-6 : 1e-6;
}

// CUDA kernels are compiled for each width and format, which takes a second: some of each.
bool is_tested(const Device& device, const MatMulShape& shape, uint32_t tokens) {
  if (device.info().backend != BackendKind::kCuda) return true;
  const auto any_of = [](uint32_t x, std::initializer_list<uint32_t> of) {
    return std::find(of.begin(), of.end(), x) != of.end();
  };
  return any_of(shape.cols, {255, 288, 640, 768, 2048}) && any_of(tokens, {1, 4, 9, 64});
}

// Inputs and the answer for kMostTokens tokens; made once for all targets and token counts.
struct Problem {
  DType dtype;
  MatMulShape shape;
  std::vector<std::byte> weight;
  std::vector<float> x;
  std::vector<double> want;
  std::vector<double> scale;  // ||weight row|| * ||x row|| of each output
};

double norm(std::span<const float> v) {
  double sum = 0;
  for (const double e : v) sum += e * e;
  return std::sqrt(sum);
}

Problem make_problem(DType dtype, const MatMulShape& shape) {
  const size_t rows = shape.rows, cols = shape.cols;
  Problem p{.dtype = dtype,
            .shape = shape,
            .weight = random_weights(dtype, rows * cols, rows * 7919 + cols),
            .x = random_normal(kMostTokens * cols, cols),
            .want = {},
            .scale = {}};
  const std::vector<float> weight = decoded(dtype, p.weight);
  p.want = reference::mat_mul<float>(weight, p.x, cols);
  for (size_t t = 0; t < kMostTokens; ++t)
    for (size_t r = 0; r < rows; ++r)
      p.scale.push_back(norm(std::span(weight).subspan(r * cols, cols)) *
                        norm(std::span(p.x).subspan(t * cols, cols)));
  return p;
}

std::vector<Problem> problems() {
  std::vector<Problem> all;
  for (const DType dtype : kWeightDTypes) {
    for (const MatMulShape& shape : kMatMulShapes)
      if (shape.cols % info(dtype).block_elems == 0) all.push_back(make_problem(dtype, shape));
    if (!is_quantized(dtype))
      for (const MatMulShape& shape : kMatMulPlainShapes) all.push_back(make_problem(dtype, shape));
  }
  return all;
}

void check(const Device& device, const Problem& p, uint32_t tokens) {
  SCOPED_TRACE(fmt::format("{} [{}, {}], {} tokens", to_string(p.dtype), p.shape.rows, p.shape.cols,
                           tokens));
  Guarded weight(device, p.dtype, {p.shape.rows, p.shape.cols}),
      x(device, DType::kF32, {tokens, p.shape.cols}),
      out(device, DType::kF32, {tokens, p.shape.rows});
  weight.fill(p.weight);
  x.fill<float>(std::span(p.x).first(size_t{tokens} * p.shape.cols));
  CommandEncoder encoder(device);
  mat_mul(encoder, {.weight = weight.view(), .x = x.view(), .out = out.view()});
  encoder.commit_and_wait();
  const size_t outputs = size_t{tokens} * p.shape.rows;
  EXPECT_TRUE(rows_near(out.view().span<float>(), std::span(p.want).first(outputs), 1,
                        bound(device), std::span(p.scale).first(outputs)));
  EXPECT_TRUE(out.intact());
  EXPECT_TRUE(weight.intact());
  EXPECT_TRUE(x.intact());
}

TEST(MatMul, MatchesReference) {
  const std::vector<Problem> all = problems();
  for_each_device([&](const Device& device) {
    for (const Problem& p : all)
      for (const uint32_t tokens : kMatMulTokens)
        if (is_tested(device, p.shape, tokens)) check(device, p, tokens);
  });
}

// More tokens than a group takes, and a rest of every size.
TEST(MatMul, ManyTokens) {
  const MatMulShape shape{70, 288};
  const std::vector<std::byte> weight = random_weights(DType::kQ5_0, 70 * 288, 1);
  const std::vector<float> values = decoded(DType::kQ5_0, weight);
  for_each_device([&](const Device& device) {
    const Buffer w = device.upload<std::byte>(weight, DType::kQ5_0, {70, 288});
    for (const uint32_t tokens : {11u, 256u, 257u, 269u, 516u}) {
      SCOPED_TRACE(tokens);
      const std::vector<float> x = random_normal(size_t{tokens} * shape.cols, tokens);
      Guarded out(device, DType::kF32, {tokens, shape.rows});
      CommandEncoder encoder(device);
      mat_mul(encoder, {.weight = w,
                        .x = device.upload<float>(x, DType::kF32, {tokens, shape.cols}),
                        .out = out.view()});
      encoder.commit_and_wait();
      EXPECT_TRUE(rows_near(out.view().span<float>(),
                            reference::mat_mul<float>(values, x, shape.cols), shape.rows,
                            device.info().backend == BackendKind::kCuda ? 2e-4 : 1e-6));
      EXPECT_TRUE(out.intact());
    }
  });
}

TEST(MatMul, ResultsDoNotDependOnThreads) {
  for_each_simd_target([&](const std::string&) {
    for (const DType dtype : {DType::kF16, DType::kQ5_0, DType::kQ4_K, DType::kQ6_K})
      for (const uint32_t tokens : {1u, 3u, 7u, 300u}) {
        SCOPED_TRACE(fmt::format("{}, {} tokens", to_string(dtype), tokens));
        const uint32_t rows = 333, cols = 768;
        const std::vector<std::byte> weight = random_weights(dtype, size_t{rows} * cols, 1);
        const std::vector<float> values = random_normal(size_t{tokens} * cols, 2);
        std::vector<float> first;
        for (const uint32_t threads : {1u, 2u, 3u, 4u}) {
          const Device device = Device::cpu({.threads = threads});
          const Buffer w = device.upload<std::byte>(weight, dtype, {rows, cols}),
                       x = device.upload<float>(values, DType::kF32, {tokens, cols}),
                       out = device.buffer(DType::kF32, {tokens, rows});
          CommandEncoder encoder(device);
          mat_mul(encoder, {.weight = w, .x = x, .out = out});
          encoder.commit_and_wait();
          const std::span<const float> got = out.span<float>();
          if (first.empty()) first.assign(got.begin(), got.end());
          EXPECT_TRUE(bits_equal(got, first)) << threads << " threads";
        }
      }
  });
}

// A mapped file: read-only, and its tensors start wherever their elements are aligned: blocks at
// any even address.
TEST(MatMul, ReadsWrappedMemoryAtAnyEvenAddress) {
  const Device device = Device::cpu({.threads = 1});
  for_each_simd_target([&](const std::string&) {
    for (const DType dtype : kWeightDTypes) {
      const uint32_t rows = 6, cols = 512;
      const std::vector<std::byte> weight = random_weights(dtype, size_t{rows} * cols, 1);
      const size_t start = std::max(2u, is_quantized(dtype) ? 2u : info(dtype).block_bytes);
      auto memory = std::make_shared<std::vector<std::byte>>(weight.size() + start);
      std::copy(weight.begin(), weight.end(), memory->begin() + static_cast<std::ptrdiff_t>(start));
      const Buffer wrapped = device.wrap(std::span<const std::byte>(*memory).subspan(start), dtype,
                                         {rows, cols}, memory);
      for (const uint32_t tokens : {1u, 8u}) {
        SCOPED_TRACE(fmt::format("{}, {} tokens", to_string(dtype), tokens));
        const std::vector<float> x = random_normal(size_t{tokens} * cols, 2);
        const Buffer out = device.buffer(DType::kF32, {tokens, rows});
        CommandEncoder encoder(device);
        mat_mul(encoder, {.weight = wrapped,
                          .x = device.upload<float>(x, DType::kF32, {tokens, cols}),
                          .out = out});
        encoder.commit_and_wait();
        EXPECT_TRUE(rows_near(out.span<float>(),
                              reference::mat_mul<float>(decoded(dtype, weight), x, cols), rows,
                              1e-5));
      }
    }
  });
}

// A NaN or an infinity in x reaches every output of its token, and no other token's.
TEST(MatMul, NanStaysInItsToken) {
  const uint32_t rows = 37, cols = 512;
  for_each_device([&](const Device& device) {
    for (const DType dtype : {DType::kF16, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K})
      for (const uint32_t tokens : {2u, 20u}) {
        const Buffer w = device.upload<std::byte>(random_weights(dtype, size_t{rows} * cols, 1),
                                                  dtype, {rows, cols});
        std::vector<float> values(size_t{tokens} * cols, 0.5f);
        values[cols + 300] = NAN;
        const Buffer out = device.buffer(DType::kF32, {tokens, rows});
        CommandEncoder encoder(device);
        mat_mul(encoder, {.weight = w,
                          .x = device.upload<float>(values, DType::kF32, {tokens, cols}),
                          .out = out});
        encoder.commit_and_wait();
        for (uint32_t i = 0; i < tokens * rows; ++i)
          ASSERT_EQ(std::isnan(out.span<float>()[i]), i / rows == 1)
              << to_string(dtype) << ", token " << i / rows << ", row " << i % rows;
      }
  });
}

TEST(MatMul, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const auto f32 = [&](const Shape& shape) { return device.buffer(DType::kF32, shape); };
  const Buffer weight = device.buffer(DType::kQ8_0, {4, 64}), x = f32({3, 64}), out = f32({3, 4});
  CommandEncoder encoder(device);
  const auto rejected = [&](const MatMulArgs& args, ErrorKind kind, const char* message) {
    try {
      mat_mul(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  const auto invalid = [&](const MatMulArgs& args, const char* message) {
    rejected(args, ErrorKind::kInvalidArgument, message);
  };
  invalid({.weight = weight, .x = {}, .out = out}, "mat_mul: x: expected a buffer, got none");
  invalid({.weight = weight, .x = f32({64}), .out = out},
          "mat_mul: x: expected [n, cols] of 1 to 2^31-1 each, got [64]");
  invalid({.weight = weight, .x = f32({0, 64}), .out = out},
          "mat_mul: x: expected [n, cols] of 1 to 2^31-1 each, got [0, 64]");
  invalid({.weight = weight, .x = device.buffer(DType::kF16, {3, 64}), .out = out},
          "mat_mul: x: dtype must be f32, got f16");
  invalid({.weight = weight, .x = x, .out = device.buffer(DType::kI32, {3, 4})},
          "mat_mul: out: dtype must be f32, got i32");
  invalid({.weight = weight, .x = f32({3, 32}), .out = out},
          "mat_mul: x: expected [n, cols] with cols = 64 as weight has, got [3, 32]");
  invalid({.weight = weight, .x = x, .out = f32({4, 3})},
          "mat_mul: out: expected [n, rows] = [3, 4], got [4, 3]");
  const Buffer both = f32({8, 64});
  invalid({.weight = device.buffer(DType::kF16, {64, 64}),
           .x = both.rows(0, 4),
           .out = both.rows(3, 4)},
          "mat_mul: out: must not overlap an input");
  rejected({.weight = device.buffer(DType::kI8, {4, 64}), .x = x, .out = out},
           ErrorKind::kUnsupportedDtype,
           "mat_mul: weight: dtype must be f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, "
           "q3_k, q4_k, q5_k or q6_k, got i8");
  EXPECT_THROW(
      mat_mul(encoder, {.weight = other.buffer(DType::kQ8_0, {4, 64}), .x = x, .out = out}), Error);
}

}  // namespace
}  // namespace decant
