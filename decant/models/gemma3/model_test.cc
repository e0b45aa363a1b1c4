// The whole model against the double-precision NumPy reference (testing/gemma3_reference.py), on
// random tiny models that hold every tensor type.
#include "decant/models/gemma3/model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>

#include "decant/core/error.h"
#include "decant/models/gemma3/test_logits.h"
#include "testing/compare.h"

namespace decant::gemma3 {
namespace {

using testing::bits_equal;
using testing::rows_near;

// With activations rounded to 8 bits; README.md has what was measured.
constexpr double kTinyQ8Bound = 0.1;
constexpr const char* kTiny[] = {"f32",    "f16_untied",  "legacy_quants", "k_quants",
                                 "q4_k_m", "rope_scaled", "softcap"};

struct TinyModel {
  explicit TinyModel(const std::string& name)
      : file(GgufFile::open(folder() / (name + ".gguf"))),
        tokens(read_file<int32_t>(folder() / (name + ".tokens.i32"))),
        logits(read_file<double>(folder() / (name + ".logits.f64"))),
        vocab(logits.size() / tokens.size()) {}
  std::span<const double> row(size_t i) const {
    return std::span(logits).subspan(i * vocab, vocab);
  }

  GgufFile file;
  std::vector<int32_t> tokens;
  std::vector<double> logits;
  size_t vocab;
};

// The CPU, and the first NVIDIA GPU if there is one.
void for_each_device(const std::function<void(const Device& device)>& body) {
  body(Device::cpu({.threads = 1}));
  const std::optional<Device> cuda = gpu();
  if (!cuda) return;
  SCOPED_TRACE(cuda->name());
  body(*cuda);
}

class TinyGemma : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder() / (std::string(GetParam()) + ".logits.f64")))
      GTEST_SKIP() << "SKIPPED: no reference models; they need Python with numpy and gguf";
  }
};

TEST_P(TinyGemma, TeacherForcedDecodingMatchesTheReference) {
  const TinyModel tiny(GetParam());
  ASSERT_GE(tiny.tokens.size(), 200u);
  for_each_device([&](const Device& device) {
    Model model(device, tiny.file, f32(256));
    Sampler sampler(device, model.config().vocab, kGreedy);
    model.prompt(std::span(tiny.tokens).first(1));
    expect_logits(logits_of(model), tiny.row(0));
    model.start(sampler);
    for (size_t i = 1; i < tiny.tokens.size(); ++i) {
      SCOPED_TRACE(i);
      model.step(tiny.tokens[i]);
      ASSERT_EQ(model.position(), i + 1);
      ASSERT_NO_FATAL_FAILURE(expect_logits(logits_of(model), tiny.row(i)));
    }
  });
}

TEST_P(TinyGemma, PromptsOfAnyBatchSizeMatchTheReference) {
  const TinyModel tiny(GetParam());
  for_each_device([&](const Device& device) {
    for (const uint32_t batch : {1u, 7u, 64u, 512u}) {
      SCOPED_TRACE(batch);
      Model model(device, tiny.file, f32(0, batch));
      size_t expected = 3;
      model.evaluate(tiny.tokens, 3, [&](size_t i, std::span<const float> logits) {
        ASSERT_EQ(i, expected++);
        ASSERT_NO_FATAL_FAILURE(expect_logits(logits, tiny.row(i)));
      });
      EXPECT_EQ(expected, tiny.tokens.size());
    }
  });
}

TEST_P(TinyGemma, PromptThenDecodeThenPromptMatchesTheReference) {
  const TinyModel tiny(GetParam());
  for_each_device([&](const Device& device) {
    Model model(device, tiny.file, f32(256, 33));
    Sampler sampler(device, model.config().vocab, kGreedy);
    const std::span<const int32_t> tokens = tiny.tokens;
    model.prompt(tokens.first(100));
    expect_logits(logits_of(model), tiny.row(99));
    model.start(sampler);
    for (size_t i = 100; i < 120; ++i) model.step(tokens[i]);
    expect_logits(logits_of(model), tiny.row(119));
    model.prompt(tokens.subspan(120, 80));
    expect_logits(logits_of(model), tiny.row(199));
    for (size_t i = 200; i < tokens.size(); ++i) model.step(tokens[i]);
    expect_logits(logits_of(model), tiny.row(tokens.size() - 1));
  });
}

TEST_P(TinyGemma, EightBitActivationsStayWithinTheirBound) {
  const TinyModel tiny(GetParam());
  const double bound = GetParam() == std::string("f32") ? kBound : kTinyQ8Bound;
  const Device device = Device::cpu({.threads = 1});
  for (const uint32_t batch : {1u, 7u, 512u}) {
    SCOPED_TRACE(batch);
    Model model(device, tiny.file,
                {.context = 0, .prompt_batch = batch, .activations = Activations::kQ8});
    model.evaluate(tiny.tokens, 0, [&](size_t i, std::span<const float> logits) {
      ASSERT_TRUE(rows_near(logits, tiny.row(i), tiny.vocab, bound)) << i;
    });
  }
  // The same by decoding.
  Model model(device, tiny.file, {.context = 0, .activations = Activations::kQ8});
  Sampler sampler(device, model.config().vocab, kGreedy);
  model.prompt(std::span(tiny.tokens).first(1));
  model.start(sampler);
  for (size_t i = 1; i < tiny.tokens.size(); ++i) {
    model.step(tiny.tokens[i]);
    ASSERT_TRUE(rows_near(logits_of(model), tiny.row(i), tiny.vocab, bound)) << i;
  }
}

TEST_P(TinyGemma, RewindTakesTokensBack) {
  const TinyModel tiny(GetParam());
  for_each_device([&](const Device& device) {
    Model model(device, tiny.file, {.context = 256});
    Sampler sampler(device, model.config().vocab, kGreedy);
    const std::span<const int32_t> tokens = tiny.tokens;
    model.prompt(tokens.first(20));
    model.start(sampler);
    // Before, at and after the ring of 48 + 7 slots wraps.
    for (const size_t at : {30u, 48u, 52u, 55u, 57u, 61u, 130u}) {
      SCOPED_TRACE(at);
      while (model.position() < at) model.step(tokens[model.position()]);
      const std::vector<float> before = logits_of(model);
      for (int i = 0; i < 6; ++i) model.step(static_cast<int32_t>(100 + i));  // wrong ones
      model.rewind(6);
      EXPECT_EQ(model.position(), at);
      model.rewind(1);
      EXPECT_THROW(model.rewind(1), Error);  // 7 below the furthest position is the limit
      model.step(tokens[at - 1]);
      EXPECT_TRUE(bits_equal(logits_of(model), before));
    }
  });
}

TEST_P(TinyGemma, StepsEqualSingleSteps) {
  const TinyModel tiny(GetParam());
  for_each_device([&](const Device& device) {
    Model model(device, tiny.file, {.context = 256});
    Sampler sampler(device, model.config().vocab, kGreedy);
    const std::span<const int32_t> tokens = tiny.tokens;
    model.prompt(tokens.first(45));
    std::vector<int32_t> want{model.start(sampler)};
    for (int i = 0; i < 30; ++i) want.push_back(model.step());
    const std::vector<float> logits = logits_of(model);

    // All at once, across the end of the ring; and ended by the caller after any number, then
    // continued.
    for (const size_t first : {0u, 1u, 2u, 3u, 7u, 29u, 30u}) {
      SCOPED_TRACE(first);
      model.reset();
      model.prompt(tokens.first(45));
      std::vector<int32_t> got{model.start(sampler)};
      if (first > 0)
        model.steps(30, [&](int32_t token) {
          got.push_back(token);
          return got.size() <= first;
        });
      ASSERT_EQ(model.position(), 45 + first);
      model.steps(30 - first, [&](int32_t token) {
        got.push_back(token);
        return true;
      });
      EXPECT_EQ(got, want);
      EXPECT_EQ(model.position(), 75u);
      EXPECT_TRUE(bits_equal(logits_of(model), logits));
    }
    // What take() throws ends it too.
    model.reset();
    model.prompt(tokens.first(45));
    model.start(sampler);
    EXPECT_THROW(model.steps(30, [](int32_t) -> bool { throw std::runtime_error("enough"); }),
                 std::runtime_error);
    EXPECT_EQ(model.position(), 46u);
    EXPECT_EQ(model.step(), want[2]);
  });
}

TEST_P(TinyGemma, SameBitsForEveryThreadCount) {
  const TinyModel tiny(GetParam());
  for (const auto activations : {Activations::kF32, Activations::kQ8}) {
    std::vector<float> first;
    for (const uint32_t threads : {1u, 2u, 3u, 4u}) {
      const Device device = Device::cpu({.threads = threads});
      Model model(device, tiny.file, {.context = 256, .activations = activations});
      Sampler sampler(device, model.config().vocab, kGreedy);
      model.prompt(std::span(tiny.tokens).first(70));
      model.start(sampler);
      for (int i = 0; i < 20; ++i) model.step();
      if (first.empty()) first = logits_of(model);
      EXPECT_TRUE(bits_equal(logits_of(model), first)) << threads;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, TinyGemma, ::testing::ValuesIn(kTiny),
                         [](const auto& p) { return std::string(p.param); });

class OneTinyGemma : public TinyGemma {};

TEST_P(OneTinyGemma, DecodingTakesFiveDispatchesALayer) {
  const TinyModel tiny(GetParam());
  const Device device = Device::cpu({.threads = 1});
  Model model(device, tiny.file, {.context = 256});
  Sampler sampler(device, model.config().vocab, kGreedy);
  model.prompt(std::span(tiny.tokens).first(1));
  model.start(sampler);
  // advance; embed and two rope_table; 7 layers of 5; the head; the sampler's two. A barrier stands
  // before each but the first and the two tables.
  EXPECT_NE(model.describe_graph().find("runs: 42 dispatches, 39 barriers"), std::string::npos)
      << model.describe_graph();
}

TEST_P(OneTinyGemma, RejectsWhatDoesNotFit) {
  const TinyModel tiny(GetParam());
  const Device device = Device::cpu({.threads = 1});
  const auto message = [](const auto& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      return e.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message([&] { Model(device, tiny.file, {.context = 513}); }),
            "gemma3: context: must be at most the model's 512 tokens, got 513");
  Model model(device, tiny.file, f32(64));
  Sampler sampler(device, model.config().vocab, kGreedy);
  EXPECT_EQ(message([&] { model.prompt({}); }), "gemma3: tokens: expected at least one, got none");
  EXPECT_EQ(message([&] { model.prompt(std::span(tiny.tokens).first(65)); }),
            "gemma3: tokens: 65 do not fit: 0 of the context's 64 are taken");
  const int32_t bad[] = {2, -1};
  EXPECT_EQ(message([&] { model.prompt(bad); }),
            fmt::format("gemma3: tokens: id must be 0 to {}, got -1 at 1", tiny.vocab - 1));
  EXPECT_EQ(message([&] { model.start(sampler); }), "gemma3: start: needs a prompt first");
  EXPECT_EQ(message([&] { model.step(); }), "gemma3: step: call start() first");
  EXPECT_EQ(model.position(), 0u);
  model.prompt(std::span(tiny.tokens).first(60));
  model.start(sampler);
  for (int i = 0; i < 4; ++i) model.step();
  EXPECT_EQ(model.room(), 0u);
  EXPECT_EQ(message([&] { model.step(); }), "gemma3: step: the context's 64 tokens are full");
  EXPECT_EQ(message([&] { model.rewind(8); }),
            "gemma3: rewind: at most 7 tokens can be taken back, got 8");
  model.reset();
  model.prompt(std::span(tiny.tokens).first(64));
  expect_logits(logits_of(model), tiny.row(63));
}

TEST_P(OneTinyGemma, NanLogitsAreAnError) {
  const std::string path = folder() / (std::string(GetParam()) + ".gguf");
  std::vector<std::byte> bytes = read_file<std::byte>(path);
  const GgufFile intact = GgufFile::open(path);
  const GgufTensor& norm = intact.tensor("output_norm.weight");
  std::fill_n(bytes.begin() + static_cast<std::ptrdiff_t>(norm.offset), norm.bytes.size(),
              std::byte{0xFF});
  const GgufFile damaged = GgufFile::parse(bytes, nullptr, "damaged");
  const Device device = Device::cpu({.threads = 1});
  Model model(device, damaged, {.context = 16});
  Sampler sampler(device, model.config().vocab, kGreedy);
  model.prompt(std::vector<int32_t>{2, 5});
  try {
    model.start(sampler);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCommandFailed);
    EXPECT_STREQ(e.what(), "gemma3: the logits after token 2 are NaN; is the file damaged?");
  }
}

INSTANTIATE_TEST_SUITE_P(Models, OneTinyGemma, ::testing::Values("q4_k_m"),
                         [](const auto& p) { return std::string(p.param); });

}  // namespace
}  // namespace decant::gemma3
