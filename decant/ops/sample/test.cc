#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/kernels/philox.h"
#include "decant/ops/sample/cases.h"
#include "decant/ops/sample/reference.h"
#include "decant/ops/sample/sample.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;

constexpr float kInf = std::numeric_limits<float>::infinity();

// The buffers of one sampler, guarded.
struct Fixture {
  Device device;
  Guarded logits, token, history, state, workspace, params_buffer;
  CommandEncoder encoder;

  Fixture(const Device& on, uint32_t vocab, uint32_t capacity = 64)
      : device(on),
        logits(device, DType::kF32, {vocab}),
        token(device, DType::kI32, {1}),
        history(device, DType::kI32, {capacity}),
        state(device, DType::kI64, {2}),
        workspace(device, DType::kU8, {sample_workspace_bytes(vocab)}),
        params_buffer(device, DType::kU8, {sizeof(SampleParams)}),
        encoder(device) {
    set_state({});
  }
  void set_state(const SampleState& value) { state.fill<SampleState>({&value, 1}); }
  SampleState get_state() const {
    return *reinterpret_cast<const SampleState*>(state.view().host());
  }
  SampleArgs args(const SampleParams& params) const {
    return {.logits = logits.view(),
            .token = token.view(),
            .history = history.view(),
            .state = state.view(),
            .params = params,
            .workspace = workspace.view()};
  }
  int32_t run(const SampleParams& params) {
    sample(encoder, args(params));
    encoder.commit_and_wait();
    return token.view().span<int32_t>()[0];
  }
  ::testing::AssertionResult intact() const {
    for (const Guarded* g : {&logits, &token, &history, &state, &workspace, &params_buffer})
      if (const auto result = g->intact(); !result) return result;
    return ::testing::AssertionSuccess();
  }
};

// A model-like row: some tokens stand out.
std::vector<float> model_logits(uint32_t vocab, uint64_t seed) {
  std::vector<float> logits = random_normal(vocab, seed, 2.0f);
  for (uint32_t i = 0; i < 12; ++i) logits[(i * 7919 + seed * 31) % vocab] += 8;
  return logits;
}

// The Random123 library's published test vectors.
TEST(Philox, KnownAnswers) {
  const auto check = [](Philox4 counter, uint32_t key0, uint32_t key1, Philox4 want) {
    const Philox4 got = philox4x32_10(counter, key0, key1);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(got.x[i], want.x[i]) << i;
  };
  check({}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  check({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  check({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
        {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST(Sample, MatchesReference) {
  for_each_device([&](const Device& device) {
    for (const uint32_t vocab : kSampleVocabs) {
      Fixture f(device, vocab);
      for (const SampleCase& c : kSampleCases) {
        SCOPED_TRACE(fmt::format("{} of {}", c.name, vocab));
        const std::vector<float> logits = model_logits(vocab, 1);
        f.logits.fill<float>(logits);
        SampleParams params = c.params;
        params.seed = 0x123456789ABCDEF0 + vocab;
        // A history of which the ring holds the end: the greatest logits among them, some twice.
        std::vector<int32_t> recent;
        for (uint32_t i = 0; i < 64; ++i)
          recent.push_back(static_cast<int32_t>((i % 40 * 7919 + 31) % vocab));
        f.history.fill<int32_t>(recent);
        f.set_state({.step = 1000, .history_length = 128});
        for (uint64_t step = 1000; step < 1008; ++step) {
          const std::vector<double> want = reference::sample_distribution(logits, params, recent);
          const int32_t token = f.run(params);
          ASSERT_EQ(token, reference::sample(want, sample_uniform(params.seed, step)))
              << "step " << step;
          recent.erase(recent.begin());
          recent.push_back(token);
        }
        EXPECT_EQ(f.get_state().step, 1008u);
        EXPECT_EQ(f.get_state().history_length, 136u);
        EXPECT_TRUE(f.intact());
      }
    }
  });
}

// 20,000 tokens from one captured graph, with nothing done between replays, counted and compared
// with the reference's distribution.
TEST(Sample, DrawsTheDistributionFromAGraph) {
  constexpr uint32_t kVocab = 60;
  const uint32_t draws = testing::on_metal() ? 3000 : 20000;  // the executor is slow
  for_each_device([&](const Device& device) {
    for (const SampleParams& params :
         {SampleParams{.temp = 1.5f, .seed = 1}, SampleParams{.temp = 0.8f, .top_k = 40, .seed = 2},
          SampleParams{.temp = 2.0f, .top_p = 0.95f, .min_p = 0.02f, .seed = 3}}) {
      SCOPED_TRACE(params.seed);
      Fixture f(device, kVocab);
      const std::vector<float> logits = random_normal(kVocab, 4);
      f.logits.fill<float>(logits);
      Graph graph =
          Graph::capture(device, [&](CommandEncoder& encoder) { sample(encoder, f.args(params)); });
      std::vector<double> count(kVocab, 0.0);
      for (uint32_t i = 0; i < draws; ++i) {
        graph.replay_and_wait();
        count[static_cast<size_t>(f.token.view().span<int32_t>()[0])] += 1;
      }
      EXPECT_EQ(f.get_state().step, draws);
      const std::vector<double> want = reference::sample_distribution(logits, params, {});
      double chi_square = 0, freedom = -1;
      for (size_t i = 0; i < kVocab; ++i) {
        if (want[i] == 0) {
          EXPECT_EQ(count[i], 0) << i;
          continue;
        }
        const double expected = want[i] * draws;
        chi_square += (count[i] - expected) * (count[i] - expected) / expected;
        freedom += 1;
      }
      ASSERT_GT(freedom, 10);
      // Mean and variance of chi-square are the degrees of freedom and twice that: 4 deviations.
      EXPECT_LT(chi_square, freedom + 4 * std::sqrt(2 * freedom));
      EXPECT_GT(chi_square, freedom - 4 * std::sqrt(2 * freedom));
    }
  });
}

// The same tokens eagerly, from a graph, for any number of threads, and with params in a buffer.
TEST(Sample, SameTokensEveryWay) {
  constexpr uint32_t kVocab = 40000;
  const std::vector<float> logits = model_logits(kVocab, 3);
  for (const SampleCase& c : kSampleCases) {
    SCOPED_TRACE(c.name);
    std::vector<int32_t> want;
    for (const uint32_t threads : {1u, 3u})
      for (const bool captured : {false, true})
        for (const bool buffered : {false, true}) {
          const Device device = Device::cpu({.threads = threads});
          Fixture f(device, kVocab);
          f.logits.fill<float>(logits);
          f.params_buffer.fill<SampleParams>({&c.params, 1});
          SampleArgs args = f.args(buffered ? SampleParams{.temp = NAN} : c.params);
          if (buffered) args.params_buffer = f.params_buffer.view();
          if (!buffered && captured) args.workspace = {};
          std::vector<int32_t> got;
          if (captured) {
            Graph graph =
                Graph::capture(device, [&](CommandEncoder& encoder) { sample(encoder, args); });
            for (int i = 0; i < 6; ++i) {
              graph.replay_and_wait();
              got.push_back(f.token.view().span<int32_t>()[0]);
            }
          } else {
            for (int i = 0; i < 6; ++i) {
              sample(f.encoder, args);
              f.encoder.commit_and_wait();
              got.push_back(f.token.view().span<int32_t>()[0]);
            }
          }
          if (want.empty()) want = got;
          EXPECT_EQ(got, want) << threads << captured << buffered;
          EXPECT_TRUE(f.intact());
        }
  }
}

TEST(Sample, PenaltyLooksBackAsFarAsAsked) {
  for_each_device([&](const Device& device) {
    Fixture f(device, 5, 4);
    f.logits.fill<float>(std::vector<float>{4.0f, 3.9f, 3.8f, -1.0f, -1.1f});
    SampleParams params{.repeat_penalty = 2, .repeat_last_n = 2};
    // 0 wins, then the next best that is not among the last two.
    for (const int32_t want : {0, 1, 2, 0, 1, 2, 0}) EXPECT_EQ(f.run(params), want);
    params.repeat_last_n = 0;
    EXPECT_EQ(f.run(params), 0);
    EXPECT_EQ(f.run(params), 0);
    // A negative logit falls, too; tokens outside the vocabulary mean nothing.
    f.logits.fill<float>(std::vector<float>{-1.0f, -1.5f, -9, -9, -9});
    f.history.fill<int32_t>(std::vector<int32_t>{0, -1, 5, 1 << 30});
    f.set_state({.step = 0, .history_length = 4});
    params.repeat_last_n = 4;
    EXPECT_EQ(f.run(params), 1);
  });
}

TEST(Sample, InfiniteAndNanLogits) {
  for_each_device([&](const Device& device) {
    for (const SampleCase& c : kSampleCases) {
      SCOPED_TRACE(c.name);
      constexpr uint32_t kVocab = 20000;
      Fixture f(device, kVocab);
      const auto tokens = [&](const std::vector<float>& logits) {
        f.logits.fill<float>(logits);
        std::set<int32_t> seen;
        for (int i = 0; i < 12; ++i) seen.insert(f.run(c.params));
        return seen;
      };
      std::vector<float> logits(kVocab, NAN);
      EXPECT_EQ(tokens(logits), std::set<int32_t>{0});
      logits[19000] = -kInf;
      EXPECT_EQ(tokens(logits), std::set<int32_t>{19000});
      logits[18999] = -1e30f;
      EXPECT_EQ(tokens(logits), std::set<int32_t>{18999});
      logits[7] = kInf;
      EXPECT_EQ(tokens(logits), std::set<int32_t>{7});
      logits[17000] = kInf;
      for (const int32_t token : tokens(logits)) EXPECT_TRUE(token == 7 || token == 17000);
      EXPECT_TRUE(f.intact());
    }
  });
}

TEST(Sample, ExtremeTemperatures) {
  for_each_device([&](const Device& device) {
    Fixture f(device, 300);
    std::vector<float> logits = random_normal(300, 9);
    logits[123] = 50;
    f.logits.fill<float>(logits);
    for (const float temp : {1e-45f, 1e-39f, 1e-20f, 0.01f}) EXPECT_EQ(f.run({.temp = temp}), 123);
    std::set<int32_t> seen;
    for (int i = 0; i < 200; ++i) seen.insert(f.run({.temp = 3e38f}));
    EXPECT_GT(seen.size(), 100u);
  });
}

// Nobody has checked params in a buffer.
TEST(Sample, SenselessParamsInABuffer) {
  for_each_device([&](const Device& device) {
    Fixture f(device, 300);
    const std::vector<float> logits = random_normal(300, 9);
    f.logits.fill<float>(logits);
    const auto best =
        static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    SampleArgs args = f.args({});
    args.params_buffer = f.params_buffer.view();
    for (const float bad : {NAN, -1.0f, kInf, -kInf}) {
      const SampleParams params{.temp = bad,
                                .top_p = bad,
                                .min_p = bad,
                                .repeat_penalty = bad,
                                .top_k = UINT32_MAX,
                                .repeat_last_n = UINT32_MAX};
      f.params_buffer.fill<SampleParams>({&params, 1});
      f.set_state({});
      sample(f.encoder, args);
      f.encoder.commit_and_wait();
      const int32_t token = f.token.view().span<int32_t>()[0];
      EXPECT_TRUE(token >= 0 && token < 300);
      if (!(bad > 0)) {
        EXPECT_EQ(token, best);
      }
      EXPECT_TRUE(f.intact());
    }
  });
}

TEST(Sample, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  Fixture f(device, 300);
  const auto rejected = [&](auto spoil, const char* message) {
    SampleArgs args = f.args({});
    spoil(args);
    try {
      sample(f.encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(f.encoder.commands().dispatches.empty());
  };
  using A = SampleArgs;
  rejected([](A& a) { a.logits = {}; }, "sample: logits: expected a buffer, got none");
  rejected([&](A& a) { a.logits = device.buffer(DType::kF16, {300}); },
           "sample: logits: dtype must be f32, got f16");
  rejected(
      [](A& a) {
        a.logits = a.logits.reshape({3, 100});
      },
      "sample: logits: expected one row, got shape [3, 100]");
  rejected([&](A& a) { a.token = device.buffer(DType::kI32, {2}); },
           "sample: token: expected 1 element, got 2");
  rejected([&](A& a) { a.state = device.buffer(DType::kI64, {1}); },
           "sample: state: expected 2 elements, got 1");
  rejected([](A& a) { a.token = a.history.rows(5, 1); }, "sample: token: must not overlap history");
  rejected([&](A& a) { a.workspace = device.buffer(DType::kU8, {100}); },
           "sample: workspace: expected 3616 bytes aligned to 16, got 100 at offset 0");
  rejected([&](A& a) { a.params_buffer = device.buffer(DType::kU8, {8}); },
           "sample: params_buffer: expected 32 bytes aligned to 8, got 8 at offset 0");
  rejected([](A& a) { a.params.temp = -1; }, "sample: temp: expected a finite number >= 0, got -1");
  rejected([](A& a) { a.params.temp = NAN; },
           "sample: temp: expected a finite number >= 0, got nan");
  rejected([](A& a) { a.params.top_p = 1.5f; }, "sample: top_p: expected 0 to 1, got 1.5");
  rejected([](A& a) { a.params.min_p = -0.5f; }, "sample: min_p: expected 0 to 1, got -0.5");
  rejected([](A& a) { a.params.repeat_penalty = 0; },
           "sample: repeat_penalty: expected a finite number > 0, got 0");
  rejected([](A& a) { a.params.repeat_penalty = 2, a.params.repeat_last_n = 65; },
           "sample: repeat_last_n: expected at most the history's capacity 64, got 65");
  SampleArgs args = f.args({});
  args.token = other.buffer(DType::kI32, {1});
  EXPECT_THROW(sample(f.encoder, args), Error);
}

}  // namespace
}  // namespace decant
