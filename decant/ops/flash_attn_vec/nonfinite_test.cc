// NaN and infinities in the cache; see README.md, "NaN and infinities".
#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <vector>

#include "decant/ops/flash_attn_vec/reference.h"
#include "decant/ops/flash_attn_vec/test_problem.h"
#include "testing/compare.h"
#include "testing/devices.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::rows_near;
using testing::take_out_nonfinite;

bool skipped_on_cuda(const Device& device) {
  if (device.info().backend != BackendKind::kCuda) return false;
  std::fprintf(stderr, "SKIPPED: cuda: flash_attn_vec makes NaN of attended infinities there\n");
  return true;
}

TEST(FlashAttnVec, NanInAnAttendedSlotShowsInItsHeadsOnly) {
  const FlashAttnVecCase c{128, 8, 4, 300, 310};
  for_each_device([&](const Device& device) {
    for (const bool in_k : {true, false})
      for (const uint32_t slot : {0u, 31u, 32u, 299u})
        for (const uint32_t workgroups : {0u, 1u, 32u}) {
          FlashAttnVecProblem t(device, c, 9);
          std::vector<uint16_t>& values = in_k ? t.k_values : t.v_values;
          values[(size_t{2} * c.kv_capacity + slot) * c.head_dim + 77] = kNanHalf;  // KV head 2
          t.k.fill<uint16_t>(t.k_values);
          t.v.fill<uint16_t>(t.v_values);
          const std::vector<float> got = t.run(device, workgroups);
          for (size_t i = 0; i < got.size(); ++i) {
            const bool hit = i / 128 / 2 == 2 && (in_k || i % 128 == 77);
            ASSERT_EQ(std::isnan(got[i]), hit)
                << in_k << " " << slot << " " << workgroups << " " << i;
          }
        }
  });
}

// Infinities in K (scores of either sign, NaN where q is 0) and in V: what is NaN or infinite in
// the reference is that here, and nothing else.
TEST(FlashAttnVec, InfinitiesGiveWhatTheReferenceGivesButOnCuda) {
  const FlashAttnVecCase cases[] = {
      {64, 16, 2, 90, 90, 17, AttnMask::kSlidingWindow, 80},
      {256, 4, 1, 700, 720},
      {128, 6, 2, 33, 33},
  };
  // Of a key in order of age, and whether it is its value.
  struct Infinity {
    uint32_t key;
    bool value;
    uint16_t bits;
  };
  for_each_device([&](const Device& device) {
    if (skipped_on_cuda(device)) return;
    for (const FlashAttnVecCase& c : cases) {
      const uint32_t last = c.kv_seq_len - 1, before = last - 9;
      const std::vector<Infinity> sets[] = {
          {{last, false, kInfinityHalf}},
          {{before, false, kMinusInfinityHalf}},
          {{last, false, kInfinityHalf}, {before, false, kMinusInfinityHalf}},
          {{last, true, kInfinityHalf}, {before, true, kMinusInfinityHalf}},
          {{before, false, kMinusInfinityHalf}, {last, true, kInfinityHalf}},
      };
      for (size_t set = 0; set < std::size(sets); ++set)
        for (const uint32_t workgroups : {0u, 1u, 32u}) {
          SCOPED_TRACE(fmt::format("{}, infinities {}, {}", describe(c), set, workgroups));
          FlashAttnVecProblem t(device, c, 31);
          t.q_values[3] = 0;  // times an infinity: NaN
          t.q.fill<float>(t.q_values);
          const auto reference = [&] {
            return reference::flash_attn_vec(t.params, t.q_values, t.k_values, t.v_values);
          };
          reference::Attention want = reference();
          const std::vector<double> finite_scale = want.scale;
          for (const Infinity& at : sets[set])
            for (uint32_t head = 0; head < c.num_kv_heads; ++head) {
              const uint32_t slot = slot_of_logical(at.key, c.ring_start, c.kv_capacity);
              std::vector<uint16_t>& halves = at.value ? t.v_values : t.k_values;
              halves[(size_t{head} * c.kv_capacity + slot) * c.head_dim + 3 + 8 * head] = at.bits;
            }
          t.k.fill<uint16_t>(t.k_values);
          t.v.fill<uint16_t>(t.v_values);
          want = reference();
          std::vector<float> got = t.run(device, workgroups);
          EXPECT_TRUE(take_out_nonfinite(got, want.out));
          for (size_t head = 0; head < want.scale.size(); ++head)
            if (!std::isfinite(want.scale[head])) want.scale[head] = finite_scale[head];
          EXPECT_TRUE(rows_near(got, want.out, c.head_dim, kFlashAttnVecBound, want.scale));
        }
    }
  });
}

// Not NaN, as in the reference: S is 0, as if no key were attended.
TEST(FlashAttnVec, ScoresOfMinusInfinityAloneGiveZeroButOnCuda) {
  for_each_device([&](const Device& device) {
    if (skipped_on_cuda(device)) return;
    FlashAttnVecProblem t(device, {64, 2, 1, 3, 3}, 8);
    for (float& x : t.q_values) x = std::abs(x) + 0.1f;
    t.q.fill<float>(t.q_values);
    for (size_t key = 0; key < 3; ++key) t.k_values[key * 64 + 5] = kMinusInfinityHalf;
    t.k.fill<uint16_t>(t.k_values);
    for (const uint32_t workgroups : {0u, 1u, 32u})
      for (const float x : t.run(device, workgroups)) ASSERT_EQ(x, 0) << workgroups;
  });
}

}  // namespace
}  // namespace decant
