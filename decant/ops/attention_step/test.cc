#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/ops/attention_step/reference.h"
#include "decant/ops/attention_step/test_problem.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "decant/ops/kv_append/kv_append.h"
#include "decant/ops/qk_norm_rope/qk_norm_rope.h"
#include "testing/devices.h"
#include "testing/simd_targets.h"

namespace decant {
namespace {

using testing::AttentionStepProblem;
using testing::bits_equal;
using testing::content;
using testing::for_each_device;
using testing::for_each_simd_target;
using testing::kStepEps;
using testing::rows_near;

constexpr double kBound = 1e-5;

std::vector<double> to_double(const std::vector<uint16_t>& halves) {
  std::vector<double> values(halves.size());
  std::transform(halves.begin(), halves.end(), values.begin(),
                 [](uint16_t h) { return double{f32_from_f16(h)}; });
  return values;
}
double round_to_f16(double x) { return double{f32_from_f16(f16_from_f32(static_cast<float>(x)))}; }

// Only the new token's slots have changed; k within one rounding to f16 (2^-11), v exactly.
void expect_appended(const AttentionStepProblem& t, const reference::AttentionStep& want) {
  const std::vector<uint16_t> k = content<uint16_t>(t.k_cache), v = content<uint16_t>(t.v_cache);
  const uint32_t D = t.c.head_dim;
  for (size_t i = 0; i < k.size(); ++i) {
    const size_t head = i / D / t.c.kv_capacity, slot = i / D % t.c.kv_capacity;
    if (slot != want.slot) {
      ASSERT_EQ(k[i], t.k_values[i]) << "k, slot " << slot;
      ASSERT_EQ(v[i], t.v_values[i]) << "v, slot " << slot;
      continue;
    }
    const double exact = want.k[head * D + i % D];
    ASSERT_NEAR(double{f32_from_f16(k[i])}, exact, std::abs(exact) * 0x1.02p-11 + 1e-6);
    ASSERT_EQ(v[i], f16_from_f32(t.values[2][head * D + i % D]));
  }
}

TEST(AttentionStep, MatchesReference) {
  for (const AttentionStepCase& c : attention_step_cases()) {
    SCOPED_TRACE(testing::describe(c));
    for_each_device([&](const Device& device) {
      AttentionStepProblem t(device, c, 17);
      t.run(device);
      // The key that is attended is the one that was stored: a rounding to f16 that falls the other
      // way, as the f32 before it differs in the last bit, is expect_appended's to judge.
      std::vector<double> k_cache = to_double(t.k_values), v_cache = to_double(t.v_values);
      const std::vector<double> stored = to_double(content<uint16_t>(t.k_cache));
      const size_t D = c.head_dim;
      size_t at = 0;
      const auto stored_key = [&](double) {
        const size_t i = at++ / 2;  // called for k and v by turns
        return stored[(i / D * c.kv_capacity + t.new_slot()) * D + i % D];
      };
      const auto round = [&](double x) {
        return at % 2 == 0 ? stored_key(x) : (++at, round_to_f16(x));
      };
      const reference::AttentionStep want = reference::attention_step(
          t.params, t.values[0], t.values[1], t.values[2], t.values[3], t.values[4], t.values[5],
          double{kStepEps}, k_cache, v_cache, round);
      EXPECT_TRUE(rows_near(t.out.view().span<float>(), want.out, c.head_dim, kBound, want.scale));
      ASSERT_NO_FATAL_FAILURE(expect_appended(t, want));
      EXPECT_TRUE(t.intact());
    });
  }
}

TEST(AttentionStep, GivesTheBitsOfTheSingleOps) {
  const Device device = Device::cpu({.threads = 2});
  for (const AttentionStepCase& c : attention_step_cases()) {
    SCOPED_TRACE(testing::describe(c));
    AttentionStepProblem t(device, c, 5);
    const Shape one{1, c.num_kv_heads, c.head_dim};
    const Buffer q = device.buffer(DType::kF32, {1, c.num_heads, c.head_dim}),
                 k = device.buffer(DType::kF16, one),
                 out = device.buffer(DType::kF32, {c.num_heads, c.head_dim});
    for_each_simd_target([&](const std::string&) {
      t.restore();
      CommandEncoder encoder(device);
      qk_norm_rope(encoder, {.x = t.q.view().reshape({1, c.num_heads, c.head_dim}),
                             .weight = t.q_norm.view(),
                             .rope = t.rope.view(),
                             .out = q,
                             .eps = kStepEps});
      qk_norm_rope(encoder, {.x = t.k.view().reshape(one),
                             .weight = t.k_norm.view(),
                             .rope = t.rope.view(),
                             .out = k,
                             .eps = kStepEps});
      kv_append(encoder, {.k = k,
                          .v = t.v.view().reshape(one),
                          .k_cache = t.k_cache.view(),
                          .v_cache = t.v_cache.view(),
                          .position = t.new_slot(),
                          .ring = true});
      flash_attn_vec(encoder, {.q = q.reshape({c.num_heads, c.head_dim}),
                               .k = t.k_cache.view(),
                               .v = t.v_cache.view(),
                               .out = out,
                               .kv_seq_len = c.kv_seq_len,
                               .scale = t.params.scale,
                               .mask = c.mask,
                               .sliding_window = c.sliding_window,
                               .ring_start = c.ring_start});
      encoder.commit_and_wait();
      const std::vector<uint16_t> k_want = content<uint16_t>(t.k_cache),
                                  v_want = content<uint16_t>(t.v_cache);
      t.run(device);
      EXPECT_TRUE(bits_equal(t.out.view().span<float>(), out.span<float>()));
      EXPECT_EQ(content<uint16_t>(t.k_cache), k_want);
      EXPECT_EQ(content<uint16_t>(t.v_cache), v_want);
    });
  }
}

TEST(AttentionStep, SameBitsForEveryThreadCountAndRun) {
  for (const AttentionStepCase& c :
       {AttentionStepCase{256, 4, 1, 3000, 4096}, AttentionStepCase{64, 16, 8, 500, 500, 77},
        AttentionStepCase{256, 4, 1, 519, 519, 77, AttnMask::kSlidingWindow, 512}}) {
    std::vector<float> first;
    for (const uint32_t threads : {1u, 2u, 3u, 4u, 4u}) {
      const Device device = Device::cpu({.threads = threads});
      AttentionStepProblem t(device, c, 3);
      for (int round = 0; round < 3; ++round) {
        t.run(device);
        if (first.empty()) first = content<float>(t.out);
        EXPECT_TRUE(bits_equal(t.out.view().span<float>(), first)) << threads;
      }
    }
  }
}

// A thread keeps the queries it has rotated in its scratch. Its first group of a run may have no
// keys, so that a later one is the first to need them.
TEST(AttentionStep, QueriesAreThoseOfTheRun) {
  const AttentionStepCase c{256, 4, 1, 3000, 8192};
  const Device one = Device::cpu({.threads = 1}), device = Device::cpu({.threads = 4});
  std::vector<std::vector<float>> want;
  std::vector<std::unique_ptr<AttentionStepProblem>> problems;
  for (const uint32_t seed : {1u, 2u}) {
    AttentionStepProblem t(one, c, seed);
    t.run(one);
    want.push_back(content<float>(t.out));
    problems.push_back(std::make_unique<AttentionStepProblem>(device, c, seed));
  }
  for (size_t round = 0; round < 30; ++round) {
    AttentionStepProblem& t = *problems[round % 2];
    t.run(device);
    ASSERT_TRUE(bits_equal(t.out.view().span<float>(), want[round % 2])) << round;
  }
}

void check_replays(const Device& device) {
  AttentionStepProblem t(device, {256, 4, 2, 1500, 1500}, 21);
  t.params.mask_type = static_cast<uint32_t>(AttnMask::kSlidingWindow);
  t.params.sliding_window = 512;
  const Buffer params = device.buffer(DType::kU32, {9});
  AttentionStepArgs args = t.args();
  args.params = params;
  Graph graph = Graph::capture(device, [&](CommandEncoder& e) { attention_step(e, args); });
  const auto replay = [&](const auto& words) {
    device.write(params, std::as_bytes(std::span(words)));
    t.restore();
    graph.replay_and_wait();
  };
  for (const auto& [kv, start] :
       {std::pair{1u, 0u}, {33u, 0u}, {1499u, 0u}, {1500u, 0u}, {1500u, 1u}, {1500u, 1499u}}) {
    SCOPED_TRACE(fmt::format("{} {}", kv, start));
    t.params.kv_seq_len = kv;
    t.params.ring_start = start;
    replay(std::array{t.params});
    const std::vector<float> out = content<float>(t.out);
    const std::vector<uint16_t> k = content<uint16_t>(t.k_cache), v = content<uint16_t>(t.v_cache);
    t.run(device);
    EXPECT_TRUE(bits_equal(out, t.out.view().span<float>()));
    EXPECT_EQ(k, content<uint16_t>(t.k_cache));
    EXPECT_EQ(v, content<uint16_t>(t.v_cache));
  }
  // What a kernel wrote beyond the capacity is clamped to it, and nothing makes it leave its
  // tensors.
  t.params.kv_seq_len = 1500;
  t.params.ring_start = 0;
  t.run(device);
  const std::vector<float> full = content<float>(t.out);
  t.params.kv_seq_len = 0xFFFFFFFF;
  replay(std::array{t.params});
  EXPECT_TRUE(bits_equal(t.out.view().span<float>(), full));
  for (const uint32_t fill : {0u, 0xFFFFFFFFu}) {
    replay(std::vector<uint32_t>(9, fill));
    EXPECT_TRUE(t.intact());
  }
  // Nothing in the cache: zeros, and nothing is written.
  t.params.kv_seq_len = 0;
  replay(std::array{t.params});
  for (const float x : t.out.view().span<float>()) ASSERT_EQ(x, 0);
  EXPECT_EQ(content<uint16_t>(t.k_cache), t.k_values);
  EXPECT_EQ(content<uint16_t>(t.v_cache), t.v_values);
}

TEST(AttentionStep, ReplayWithParamsInABufferEqualsSingleCalls) {
  check_replays(Device::cpu());
  for_each_device([&](const Device& device) {
    if (device.info().backend != BackendKind::kCpu) check_replays(device);
  });
}

TEST(AttentionStep, NanInTheNewKeyOrValueShowsInItsHeadsOnly) {
  for_each_device([&](const Device& device) {
    for (const size_t which : {1u, 2u}) {  // k, v
      AttentionStepProblem t(device, {128, 8, 4, 300, 310}, 9);
      t.values[which][2 * 128 + 77] = NAN;  // KV head 2
      t.k.fill<float>(t.values[1]);
      t.v.fill<float>(t.values[2]);
      t.run(device);
      const std::vector<float> got = content<float>(t.out);
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(std::isnan(got[i]), i / 128 / 2 == 2 && (which == 1 || i % 128 == 77)) << i;
    }
  });
}

TEST(AttentionStep, IsOneSdpaDispatch) {
  const Device device = Device::cpu();
  AttentionStepProblem t(device, {256, 4, 1, 100, 100}, 1);
  CommandEncoder encoder(device);
  attention_step(encoder, t.args());
  ASSERT_EQ(encoder.commands().dispatches.size(), 1u);
  EXPECT_EQ(encoder.commands().dispatches[0].kernel->name, "attention_step_f16_dk256_dv256");
  EXPECT_EQ(encoder.commands().dispatches[0].kind, OpKind::kSdpa);
}

TEST(AttentionStep, ThePlanDoesNotDependOnTheLiveLength) {
  const Device device = Device::cpu();
  AttentionStepProblem t(device, {256, 4, 1, 1, 9000}, 1);
  AttentionStepArgs args = t.args();
  const AttentionStepPlan a = plan(args, device);
  args.kv_seq_len = 9000;
  const AttentionStepPlan b = plan(args, device);
  EXPECT_EQ(a.splits, b.splits);
  EXPECT_EQ(a.launch.grid, b.launch.grid);
  EXPECT_EQ(a.scratch_bytes, b.scratch_bytes);
}

}  // namespace
}  // namespace decant
