#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

#include "decant/ops/flash_attn_prefill/cases.h"
#include "decant/ops/flash_attn_prefill/flash_attn_prefill.h"
#include "decant/ops/flash_attn_prefill/test_problem.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "decant/ops/kv_append/kv_append.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/simd_targets.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::for_each_simd_target;
using testing::rows_near;
using testing::take_out_nonfinite;

constexpr double kBound = 1e-5;

TEST(FlashAttnPrefill, MatchesReference) {
  struct Checked {
    Problem problem;
    reference::PrefillOutput want;
  };
  std::vector<Checked> all;
  for (const PrefillCase& c : prefill_test_cases()) {
    const Problem problem(c);
    all.push_back({problem, problem.want()});
  }
  for_each_device([&](const Device& device) {
    for (const auto& [problem, want] : all) {
      SCOPED_TRACE(describe(problem.c));
      if (device.info().backend == BackendKind::kCuda && problem.c.head_dim % 32 != 0) continue;
      EXPECT_TRUE(rows_near(problem.run(device), want.out, problem.c.head_dim, kBound, want.unit));
    }
  });
}

// Softmax from nearly uniform to one-hot, and a scale below zero.
TEST(FlashAttnPrefill, ScoresOfAnySize) {
  for (const float q_size : {0.0f, 1e-3f, 10.0f, 100.0f}) {
    Problem problem({40, 4, 1, 128, 100, 100, 17}, q_size);
    for (const float sign : {1.0f, -1.0f}) {
      problem.scale = sign * std::abs(problem.scale);
      const reference::PrefillOutput want = problem.want();
      // The scores themselves are rounded to f32: with |score| = 100 s that alone moves exp(score)
      // by 100 s * 2^-24 * a few.
      const double bound = std::max(kBound, q_size * 1e-6);
      for_each_device([&](const Device& device) {
        EXPECT_TRUE(rows_near(problem.run(device), want.out, 128, bound, want.unit))
            << "q of size " << q_size << ", scale " << problem.scale;
      });
    }
  }
}

// Keys whose score is -infinity weigh nothing, even where they fill a query's first blocks.
TEST(FlashAttnPrefill, MinusInfinityWeighsNothing) {
  Problem problem({9, 4, 1, 64, 200, 200, 30});
  for (size_t row = 0; row < problem.q.size(); row += 64)
    problem.q[row] = std::abs(problem.q[row]) + 0.1f;
  for (const uint32_t key : {130, 203}) problem.key_row(false, key, 0)[0] = kF16MinusInfinity;
  for (uint32_t key = 0; key < 100; ++key) problem.key_row(false, key, 0)[0] = kF16MinusInfinity;
  const reference::PrefillOutput want = problem.want();
  for_each_device([&](const Device& device) {
    EXPECT_TRUE(rows_near(problem.run(device), want.out, 64, kBound, want.unit));
  });
}

// Infinities in K (scores of either sign, NaN where q is 0) and in V, of keys that some queries do
// not attend: what is NaN or infinite in the reference is that here, and nothing else.
TEST(FlashAttnPrefill, InfinitiesGiveWhatTheReferenceGives) {
  constexpr AttnMask kWindow = AttnMask::kSlidingWindow;
  const PrefillCase cases[] = {
      {33, 4, 1, 32, 40, 44},                       // 4 rows a token
      {70, 2, 2, 64, 100, 100, 99, kWindow, 90},    // 1 row a token
      {25, 3, 1, 256, 131, 131, 17, kWindow, 100},  // 3 rows a token, across tiles
      {20, 2, 1, 32, 0, 0, 0, AttnMask::kCausal},   // the first row has one key
  };
  // Key, and whether what is infinite is its value.
  struct Infinity {
    uint32_t key;
    bool value;
    uint16_t bits;
  };
  for_each_device([&](const Device& device) {
    for (const PrefillCase& c : cases) {
      const uint32_t first = first_key(c, 0), last = c.kv_seq_len + c.n - 1;
      const std::vector<Infinity> sets[] = {
          {{first, false, kF16Infinity}},
          {{first, false, kF16MinusInfinity}},
          {{last - 5, false, kF16Infinity}, {last - 9, false, kF16MinusInfinity}},
          {{first, true, kF16Infinity}, {last - 1, true, kF16MinusInfinity}},
          {{first + 3, false, kF16MinusInfinity}, {last - 12, true, kF16MinusInfinity}},
      };
      for (const std::vector<Infinity>& set : sets) {
        Problem problem(c);
        problem.q[3] = 0;  // times an infinity: NaN
        const std::vector<double> finite_unit = problem.want().unit;
        for (const Infinity& at : set)
          for (uint32_t head = 0; head < c.num_kv_heads; ++head)
            problem.key_row(at.value, at.key, head)[3 + 8 * head] = at.bits;
        SCOPED_TRACE(
            fmt::format("{}, {} of key {}", describe(c), set[0].value ? "V" : "K", set[0].key));
        reference::PrefillOutput want = problem.want();
        std::vector<float> got = problem.run(device);
        EXPECT_TRUE(take_out_nonfinite(got, want.out));
        for (size_t row = 0; row < want.unit.size(); ++row)
          if (!std::isfinite(want.unit[row])) want.unit[row] = finite_unit[row];
        EXPECT_TRUE(rows_near(got, want.out, c.head_dim, kBound, want.unit));
      }
    }
  });
}

// A NaN in K or V of one key reaches the queries that attend the key; all others keep their bits.
TEST(FlashAttnPrefill, NanReachesExactlyTheQueriesThatAttendIt) {
  constexpr AttnMask kWindow = AttnMask::kSlidingWindow;
  const PrefillCase cases[] = {
      {33, 4, 1, 32, 40, 44, 0, AttnMask::kCausal},  // 4 rows a token
      {33, 4, 1, 32, 40, 40, 13, kWindow, 20},
      {70, 2, 2, 32, 30, 30, 29, kWindow, 3},  // 1 row a token
      {70, 2, 2, 32, 60, 60, 1, kWindow, 64},
      {25, 3, 1, 32, 100, 100, 99, kWindow, 90},  // 3 rows a token, across tiles
      {70, 1, 1, 32, 3, 5, 0, kWindow, 1},
  };
  for_each_device([&](const Device& device) {
    for (const PrefillCase& c : cases) {
      SCOPED_TRACE(describe(c));
      Problem problem(c);
      const std::vector<float> clean = problem.run(device);
      const uint32_t group = c.num_heads / c.num_kv_heads;
      for (uint32_t key = first_key(c, 0); key < c.kv_seq_len + c.n; ++key)
        for (const bool values : {false, true}) {
          const uint32_t kv_head = key % c.num_kv_heads, dim = key % c.head_dim;
          uint16_t& bits = problem.key_row(values, key, kv_head)[dim];
          const uint16_t before = bits;
          bits = kF16Nan;
          const std::vector<float> got = problem.run(device);
          bits = before;
          size_t wrong = 0;
          for (size_t i = 0; i < got.size(); ++i) {
            const auto token = static_cast<uint32_t>(i / c.head_dim / c.num_heads);
            const size_t head = i / c.head_dim % c.num_heads;
            const bool attended = head / group == kv_head && key >= first_key(c, token) &&
                                  key <= c.kv_seq_len + token && (!values || i % c.head_dim == dim);
            wrong += attended
                         ? !std::isnan(got[i])
                         : std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(clean[i]);
          }
          EXPECT_EQ(wrong, 0u) << (values ? "V" : "K") << " of key " << key;
        }
    }
  });
}

TEST(FlashAttnPrefill, NanInAQueryStaysInItsRow) {
  for_each_device([&](const Device& device) {
    for (const uint32_t payload : {0x7FC00000u, 0x7F800001u, 0xFFFFFFFFu, 0x7FC00155u}) {
      Problem problem({20, 3, 1, 32, 70, 70, 5});
      const std::vector<float> clean = problem.run(device);
      for (const size_t row : {0, 7, 31, 32, 59}) {
        const float before = problem.q[row * 32 + 9];
        problem.q[row * 32 + 9] = std::bit_cast<float>(payload);
        const std::vector<float> got = problem.run(device);
        problem.q[row * 32 + 9] = before;
        for (size_t i = 0; i < got.size(); ++i) {
          if (i / 32 == row)
            ASSERT_TRUE(std::isnan(got[i])) << row << " " << i;
          else
            ASSERT_EQ(got[i], clean[i]) << row << " " << i;
        }
      }
    }
  });
}

// A prompt of 150 tokens through a ring of 40 slots in batches of any size is what one batch over
// a linear cache gives.
TEST(FlashAttnPrefill, BatchesThroughARingMatchOneBatch) {
  constexpr uint32_t kTokens = 150, kCapacity = 40, kWindowKeys = 33, kHeads = 4, kKvHeads = 2;
  constexpr uint32_t kDim = 64;
  const Problem whole(
      {kTokens, kHeads, kKvHeads, kDim, 0, 0, 0, AttnMask::kSlidingWindow, kWindowKeys});
  const reference::PrefillOutput want = whole.want();
  for_each_device([&](const Device& device) {
    EXPECT_TRUE(rows_near(whole.run(device), want.out, kDim, kBound, want.unit));
    for (const uint32_t batch : {1, 7, 40, 64, 149}) {
      std::vector<uint16_t> k_ring(size_t{kKvHeads} * kCapacity * kDim, kF16Nan), v_ring = k_ring;
      std::vector<float> got;
      for (uint32_t position = 0; position < kTokens; position += batch) {
        const uint32_t n = std::min(batch, kTokens - position);
        const uint32_t older = std::min(position, kCapacity);
        Problem part({n, kHeads, kKvHeads, kDim, older, kCapacity,
                      position < kCapacity ? 0 : position % kCapacity, AttnMask::kSlidingWindow,
                      kWindowKeys});
        const auto cut = [&](const auto& from, uint32_t heads) {
          const auto begin = from.begin() + std::ptrdiff_t{position} * heads * kDim;
          return std::vector(begin, begin + std::ptrdiff_t{n} * heads * kDim);
        };
        part.q = cut(whole.q, kHeads);
        part.k_new = cut(whole.k_new, kKvHeads);
        part.v_new = cut(whole.v_new, kKvHeads);
        part.k_cache = k_ring;
        part.v_cache = v_ring;
        const std::vector<float> rows = part.run(device);
        got.insert(got.end(), rows.begin(), rows.end());
        for (uint32_t token = 0; token < n; ++token)
          for (uint32_t head = 0; head < kKvHeads; ++head)
            for (uint32_t d = 0; d < kDim; ++d) {
              const size_t from = (size_t{token} * kKvHeads + head) * kDim + d;
              const size_t to = part.cache_at((position + token) % kCapacity, head) + d;
              k_ring[to] = part.k_new[from];
              v_ring[to] = part.v_new[from];
            }
      }
      EXPECT_TRUE(rows_near(got, want.out, kDim, kBound, want.unit)) << "batches of " << batch;
    }
  });
}

// Through a ring that wraps and through a linear cache.
TEST(FlashAttnPrefill, MatchesSingleTokenSteps) {
  const Device device = Device::cpu({.threads = 1});
  constexpr uint32_t kTokens = 70, kDim = 64;
  for (const uint32_t capacity : {40u, kTokens}) {
    Problem problem({kTokens, 4, 2, kDim});
    if (capacity < kTokens) {
      problem.c.mask = AttnMask::kSlidingWindow;
      problem.c.sliding_window = 33;
    }
    const std::vector<double> unit = problem.want().unit;
    for_each_simd_target([&](const std::string&) {
      const Buffer q = device.upload<float>(problem.q, DType::kF32, {kTokens, 4, kDim}),
                   k = device.upload<uint16_t>(problem.k_new, DType::kF16, {kTokens, 2, kDim}),
                   v = device.upload<uint16_t>(problem.v_new, DType::kF16, {kTokens, 2, kDim}),
                   k_cache = device.buffer(DType::kF16, {2, capacity, kDim}),
                   v_cache = device.buffer(DType::kF16, {2, capacity, kDim}),
                   out = device.buffer(DType::kF32, {kTokens, 4, kDim});
      CommandEncoder encoder(device);
      for (uint32_t i = 0; i < kTokens; ++i) {
        kv_append(encoder, {.k = k.rows(i, 1),
                            .v = v.rows(i, 1),
                            .k_cache = k_cache,
                            .v_cache = v_cache,
                            .position = i,
                            .ring = true});
        flash_attn_vec(encoder, {.q = q.rows(i, 1).reshape({4, kDim}),
                                 .k = k_cache,
                                 .v = v_cache,
                                 .out = out.rows(i, 1).reshape({4, kDim}),
                                 .kv_seq_len = std::min(i + 1, capacity),
                                 .scale = problem.scale,
                                 .mask = problem.c.mask,
                                 .sliding_window = problem.c.sliding_window,
                                 .ring_start = i < capacity ? 0 : (i + 1) % capacity});
      }
      encoder.commit_and_wait();
      const std::span<const float> steps = out.span<const float>();
      EXPECT_TRUE(rows_near(problem.run(device), std::vector<double>(steps.begin(), steps.end()),
                            kDim, kBound, unit));
    });
  }
}

TEST(FlashAttnPrefill, SameBitsForEveryThreadCountAndRun) {
  const PrefillCase cases[] = {{100, 4, 1, 64, 77, 80},
                               {90, 8, 4, 128, 40, 40, 9, AttnMask::kSlidingWindow, 33}};
  for_each_simd_target([&](const std::string&) {
    for (const PrefillCase& c : cases) {
      const Problem problem(c);
      const std::vector<float> one = problem.run(Device::cpu({.threads = 1}));
      for (const uint32_t threads : {1, 2, 3, 4})
        EXPECT_TRUE(bits_equal(problem.run(Device::cpu({.threads = threads})), one)) << threads;
    }
  });
}

// Without older keys the cache may be given all the same, full of anything.
TEST(FlashAttnPrefill, EmptyCacheIsNotRead) {
  const Device device = Device::cpu({.threads = 1});
  const std::vector<float> without = Problem({20, 4, 2, 64}).run(device);
  EXPECT_TRUE(bits_equal(Problem({20, 4, 2, 64, 0, 33}).run(device), without));
}

}  // namespace
}  // namespace decant
