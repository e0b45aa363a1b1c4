#include "decant/text/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "testing/compare.h"

namespace decant {
namespace {

using ::testing::Each;
using ::testing::Ge;
using ::testing::Lt;

constexpr uint32_t kVocab = 500;

struct SamplerTest : ::testing::Test {
  Device device = Device::cpu({.threads = 1});
  Buffer logits =
      device.upload<float>(testing::random_normal(kVocab, 7, 3.0f), DType::kF32, {1, kVocab});
  Buffer token = device.buffer(DType::kI32, {1});

  int32_t next(Sampler& sampler) {
    CommandEncoder encoder(device);
    sampler.record(encoder, logits, token);
    encoder.commit_and_wait();
    return token.span<int32_t>()[0];
  }
  std::vector<int32_t> text(Sampler& sampler, size_t n) {
    std::vector<int32_t> ids(n);
    for (int32_t& id : ids) id = next(sampler);
    return ids;
  }
};

TEST_F(SamplerTest, SameSeedSameText) {
  Sampler a(device, kVocab, {.temp = 2, .seed = 42}), b(device, kVocab, {.temp = 2, .seed = 42}),
      c(device, kVocab, {.temp = 2, .seed = 43});
  const std::vector<int32_t> first = text(a, 50);
  EXPECT_EQ(text(b, 50), first);
  EXPECT_NE(text(c, 50), first);
  EXPECT_NE(text(a, 50), first);  // goes on
  a.reset();
  EXPECT_EQ(text(a, 50), first);
  EXPECT_THAT(first, Each(Ge(0)));
  EXPECT_THAT(first, Each(Lt(static_cast<int32_t>(kVocab))));
}

TEST_F(SamplerTest, GraphGivesTheSameTextAndFollowsTheOptions) {
  const SamplerOptions hot{.temp = 2, .repeat_penalty = 1.3f, .seed = 5};
  Sampler eager(device, kVocab, hot), captured(device, kVocab, hot);
  eager.accept(std::vector{1, 2, 3});
  captured.accept(std::vector{1, 2, 3});
  Graph graph = Graph::capture(
      device, [&](CommandEncoder& encoder) { captured.record(encoder, logits, token); });
  const auto replay = [&] {
    graph.replay_and_wait();
    return token.span<int32_t>()[0];
  };
  for (int i = 0; i < 40; ++i) {
    const int32_t want = next(eager);
    ASSERT_EQ(replay(), want) << i;
  }
  for (Sampler* s : {&eager, &captured}) s->set_options({.temp = 1.5f, .top_k = 3, .seed = 6});
  for (int i = 0; i < 40; ++i) {
    const int32_t want = next(eager);
    ASSERT_EQ(replay(), want) << i;
  }
  captured.set_options({.temp = 0});
  const std::span<const float> l = logits.span<float>();
  const auto best = std::max_element(l.begin(), l.end()) - l.begin();
  EXPECT_EQ(replay(), best);
  EXPECT_EQ(replay(), best);
}

TEST_F(SamplerTest, AcceptedTokensArePenalised) {
  const std::span<float> l = logits.span<float>();
  std::iota(l.begin(), l.end(), 1.0f);
  Sampler sampler(device, kVocab, {.temp = 0, .repeat_penalty = 1e6f, .repeat_last_n = 64});
  sampler.accept(std::vector{499, 498, 497});
  EXPECT_EQ(next(sampler), 496);
  EXPECT_EQ(next(sampler), 495);
  // More than the history holds: 136 to 199 are remembered, 495 to 499 forgotten.
  std::vector<int32_t> many(200);
  std::iota(many.begin(), many.end(), 0);
  sampler.accept(many);
  EXPECT_EQ(next(sampler), 499);
  // It pushed 136 out, and 136 pushes 137 out.
  for (size_t i = 0; i < kVocab; ++i) l[i] = i >= 136 && i < 200 ? 10.0f : 1.0f;
  EXPECT_EQ(next(sampler), 136);
  EXPECT_EQ(next(sampler), 137);
  l[150] = 11;
  EXPECT_EQ(next(sampler), 138);
  sampler.reset();
  EXPECT_EQ(next(sampler), 150);
  EXPECT_EQ(next(sampler), 136);
}

TEST_F(SamplerTest, RejectsBadOptions) {
  const auto rejected = [&](const SamplerOptions& options, const char* message) {
    for (const bool construct : {false, true}) {
      try {
        if (construct)
          Sampler made(device, kVocab, options);
        else
          options.validate();
        ADD_FAILURE() << "accepted; expected: " << message;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
        EXPECT_STREQ(e.what(), message);
      }
    }
  };
  rejected({.temp = -0.1f}, "sampler: temp: expected a finite number >= 0, got -0.1");
  rejected({.temp = INFINITY}, "sampler: temp: expected a finite number >= 0, got inf");
  rejected({.top_k = -1}, "sampler: top_k: expected >= 0, got -1");
  rejected({.top_p = 1.01f}, "sampler: top_p: expected 0 to 1, got 1.01");
  rejected({.min_p = NAN}, "sampler: min_p: expected 0 to 1, got nan");
  rejected({.repeat_penalty = -1}, "sampler: repeat_penalty: expected a finite number > 0, got -1");
  rejected({.repeat_last_n = -1}, "sampler: repeat_last_n: expected >= 0, got -1");

  Sampler sampler(device, kVocab, {.repeat_last_n = 100});
  EXPECT_NO_THROW(sampler.set_options({.repeat_last_n = 100}));
  EXPECT_THROW(sampler.set_options({.repeat_last_n = 101}), Error);
  EXPECT_EQ(sampler.options().repeat_last_n, 100);
  EXPECT_THROW(sampler.accept(std::vector{1, 500}), Error);
  EXPECT_THROW(sampler.accept(std::vector{-1}), Error);
  CommandEncoder encoder(device);
  EXPECT_THROW(sampler.record(encoder, device.buffer(DType::kF32, {7}), token), Error);
  EXPECT_THROW(Sampler(device, 0), Error);
}

}  // namespace
}  // namespace decant
