// The real Gemma 3 270M: f32 against the double-precision NumPy reference, 8-bit activations
// against f32, CUDA against the CPU.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "decant/models/gemma3/model.h"
#include "decant/models/gemma3/test_logits.h"
#include "decant/text/tokenizer.h"
#include "testing/simd_targets.h"

namespace decant::gemma3 {
namespace {

class RealGemma : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* path = std::getenv("DECANT_TEST_MODEL");
    if (!path) GTEST_SKIP() << "SKIPPED: DECANT_TEST_MODEL does not name the model";
    file_ = GgufFile::open(path);
  }
  const GgufFile& file() const { return *file_; }

 private:
  std::optional<GgufFile> file_;
};

TEST_F(RealGemma, LogitsMatchTheReference) {
  if (!std::filesystem::exists(folder() / "real.logits.f64"))
    GTEST_SKIP() << "SKIPPED: no reference logits; they need Python with numpy and gguf";
  const std::vector<int32_t> tokens = read_file<int32_t>(folder() / "real.tokens.i32");
  const std::vector<double> want = read_file<double>(folder() / "real.logits.f64");
  const Device device = Device::cpu({.threads = 1});
  Model model(device, file(), f32(4096));
  Sampler sampler(device, model.config().vocab, kGreedy);
  model.prompt(tokens);
  expect_logits(logits_of(model), want);
  // The same by decoding token by token.
  model.reset();
  model.prompt(std::span(tokens).first(1));
  model.start(sampler);
  for (size_t i = 1; i < tokens.size(); ++i) model.step(tokens[i]);
  expect_logits(logits_of(model), want);
}

// A prompt of `tokens` as a whole, or decoded one by one: the logits of every row.
void for_each_row(Model& model, std::span<const int32_t> tokens, bool decoding,
                  const std::function<void(size_t i, std::span<const float> logits)>& row) {
  if (!decoding) return model.evaluate(tokens, 0, row);
  model.reset();
  Sampler sampler(model.device(), model.config().vocab, kGreedy);
  model.prompt(tokens.first(1));
  model.start(sampler);
  row(0, logits_of(model));
  for (size_t i = 1; i < tokens.size(); ++i) {
    model.step(tokens[i]);
    row(i, logits_of(model));
  }
}

// What rounding costs differs from row to row by a factor of ten, and sums in another order round
// other values: one row says nothing, the root of the mean square over many does.
TEST_F(RealGemma, RoundedActivationsStayNear) {
  constexpr double kMeanBound = 0.03, kWorstBound = 0.1;
  constexpr const char* kText =
      "A river begins where several small streams meet, usually high in the hills, and it grows as "
      "it takes in water from the land on both of its sides. Near the source the bed is steep and "
      "full of stones. Further down the current slows, the valley opens, and the water drops the "
      "sand and mud that it has carried so far. At the mouth the mud builds up new land, a delta, "
      "through which the river finds its way to the sea in many arms. People have always settled "
      "there, because the soil is rich and boats can go both inland and out along the coast.";
  const std::vector<int32_t> tokens = Tokenizer::from_gguf(file()).encode(kText);
  ASSERT_GE(tokens.size(), 100);
  std::vector<std::vector<double>> want;
  {
    Model model(Device::cpu(), file(), f32(256));
    model.evaluate(tokens, 0, [&](size_t, std::span<const float> logits) {
      want.emplace_back(logits.begin(), logits.end());
    });
  }
  testing::for_each_simd_target([&](const std::string& target) {
    Model model(Device::cpu(), file(), {.context = 256, .activations = Activations::kQ8});
    for (const bool decoding : {false, true}) {
      double squares = 0, worst = 0;
      for_each_row(model, tokens, decoding, [&](size_t i, std::span<const float> logits) {
        const double error = relative_error(logits, want[i]);
        squares += error * error;
        worst = std::max(worst, error);
      });
      const double mean = std::sqrt(squares / static_cast<double>(tokens.size()));
      fmt::print("{}, {}: relative L2 of {} rows {:.4f}, worst {:.4f}\n", target,
                 decoding ? "decoding" : "prompt", tokens.size(), mean, worst);
      EXPECT_LE(mean, kMeanBound) << target;
      EXPECT_LE(worst, kWorstBound) << target;
    }
  });
}

// Past the window of the sliding layers, prompt and decoding. Needs no reference: any model will
// do.
TEST_F(RealGemma, CudaAgreesWithTheCpu) {
  const std::optional<Device> cuda = gpu();
  if (!cuda) GTEST_SKIP() << "SKIPPED: no NVIDIA GPU";
  constexpr size_t kTokens = 600, kEvery = 8;
  std::mt19937 random(5);
  std::vector<int32_t> tokens{2};
  std::vector<std::vector<double>> want;
  {
    Model model(Device::cpu(), file(), f32(kTokens));
    std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(model.config().vocab) - 1);
    while (tokens.size() < kTokens) tokens.push_back(any(random));
    model.evaluate(tokens, 0, [&](size_t i, std::span<const float> logits) {
      if (i % kEvery == 0) want.emplace_back(logits.begin(), logits.end());
    });
  }
  Model model(*cuda, file(), {.context = kTokens});
  for (const bool decoding : {false, true}) {
    double worst = 0;
    for_each_row(model, tokens, decoding, [&](size_t i, std::span<const float> logits) {
      if (i % kEvery != 0) return;
      worst = std::max(worst, relative_error(logits, want[i / kEvery]));
      expect_logits(logits, want[i / kEvery]);
    });
    fmt::print("{}: relative L2 of {} rows of logits at most {:.2e}\n",
               decoding ? "decoding" : "prompt", want.size(), worst);
  }
}

}  // namespace
}  // namespace decant::gemma3
