// The model on a Metal device against the CPU: logits of the same tokens, and the tokens chosen.
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "decant/models/gemma3/model.h"
#include "decant/models/gemma3/test_logits.h"
#include "testing/devices.h"

namespace decant::gemma3 {
namespace {

void expect_same(const Model& metal, const Model& cpu) {
  const std::vector<float> want = logits_of(cpu);
  expect_logits(logits_of(metal), std::vector<double>(want.begin(), want.end()));
}

class GemmaOnMetal : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!testing::on_metal()) GTEST_SKIP() << "SKIPPED: runs with DECANT_TEST_DEVICE=metal";
    if (!std::filesystem::exists(folder() / (std::string(GetParam()) + ".gguf")))
      GTEST_SKIP() << "SKIPPED: no reference models; they need Python with numpy and gguf";
  }
};

// A prompt in two batches, then tokens one by one, past the end of the sliding layers' ring.
TEST_P(GemmaOnMetal, GivesTheLogitsOfTheCpu) {
  constexpr size_t kPrompt = 45, kTokens = 65;
  const GgufFile file = GgufFile::open(folder() / (std::string(GetParam()) + ".gguf"));
  const Device metal = testing::test_device(), cpu = Device::cpu({.threads = 1});
  const ModelOptions options{.context = 80, .prompt_batch = 32, .activations = Activations::kF32};
  Model on_metal(metal, file, options), on_cpu(cpu, file, options);
  const uint32_t vocab = on_cpu.config().vocab;
  std::mt19937_64 random(7);
  std::vector<int32_t> tokens(kTokens);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocab);

  on_metal.prompt(std::span(tokens).first(kPrompt));
  on_cpu.prompt(std::span(tokens).first(kPrompt));
  expect_same(on_metal, on_cpu);
  Sampler metal_sampler(metal, vocab, {.temp = 0}), cpu_sampler(cpu, vocab, {.temp = 0});
  on_metal.start(metal_sampler);
  on_cpu.start(cpu_sampler);
  for (size_t i = kPrompt; i < kTokens; ++i) {
    SCOPED_TRACE(i);
    const int32_t token = on_metal.step(tokens[i]);
    on_cpu.step(tokens[i]);
    ASSERT_NO_FATAL_FAILURE(expect_same(on_metal, on_cpu));
    const std::vector<float> got = logits_of(on_metal);
    ASSERT_EQ(static_cast<size_t>(token), argmax(std::vector<double>(got.begin(), got.end())));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GemmaOnMetal,
                         ::testing::Values("f32", "q4_k_m", "legacy_quants", "k_quants"),
                         [](const auto& p) { return std::string(p.param); });

}  // namespace
}  // namespace decant::gemma3
