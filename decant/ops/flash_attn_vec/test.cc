#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/ops/flash_attn_vec/cases.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "decant/ops/flash_attn_vec/reference.h"
#include "decant/ops/flash_attn_vec/test_problem.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;
using testing::rows_near;

using Tensors = FlashAttnVecProblem;
constexpr double kBound = kFlashAttnVecBound;

TEST(FlashAttnVec, MatchesReference) {
  for (const FlashAttnVecCase& c : flash_attn_vec_cases()) {
    SCOPED_TRACE(describe(c));
    std::optional<reference::Attention> want;
    std::map<const void*, Tensors> tensors;  // by device
    for_each_device([&](const Device& device) {
      Tensors& t = tensors.try_emplace(device.id(), device, c, 17).first->second;
      if (!want) want = reference::flash_attn_vec(t.params, t.q_values, t.k_values, t.v_values);
      for (const uint32_t workgroups : {0u, 1u, 32u}) {
        SCOPED_TRACE(workgroups);
        const std::vector<float> got = t.run(device, workgroups);
        EXPECT_TRUE(rows_near(got, want->out, c.head_dim, kBound, want->scale));
        EXPECT_TRUE(t.out.intact() && t.tmp.intact() && t.k.intact() && t.v.intact());
      }
    });
  }
}

TEST(FlashAttnVec, LargeScoresDoNotOverflow) {
  const FlashAttnVecCase c{64, 4, 2, 200, 256};
  for_each_device([&](const Device& device) {
    Tensors t(device, c, 5);
    for (float& x : t.q_values) x *= 1000;
    t.q.fill<float>(t.q_values);
    const reference::Attention want =
        reference::flash_attn_vec(t.params, t.q_values, t.k_values, t.v_values);
    for (const uint32_t workgroups : {0u, 1u, 32u})
      // Scores of magnitude 10^4 carry an absolute error of 10^-3 in f32.
      EXPECT_TRUE(rows_near(t.run(device, workgroups), want.out, 64, 1e-2, want.scale));
  });
}

TEST(FlashAttnVec, SameBitsForEveryThreadCountAndRun) {
  for (const FlashAttnVecCase& c :
       {FlashAttnVecCase{256, 4, 1, 3000, 4096},
        FlashAttnVecCase{256, 4, 1, 519, 519, 77, AttnMask::kSlidingWindow, 512},
        FlashAttnVecCase{256, 4, 1, 700, 20000},  // 4 groups of 64 have work
        FlashAttnVecCase{64, 16, 8, 500, 500}})
    for (const uint32_t workgroups : {0u, 1u, 32u}) {
      std::vector<float> first;
      for (const uint32_t threads : {1u, 2u, 3u, 4u, 4u}) {
        const Device device = Device::cpu({.threads = threads});
        const std::vector<float> got = Tensors(device, c, 3).run(device, workgroups);
        if (first.empty()) first = got;
        EXPECT_TRUE(bits_equal(got, first)) << threads;
      }
    }
}

// On the CPU the attended keys alone decide how work is cut: not the slots around them.
TEST(FlashAttnVec, SameBitsForEveryCapacity) {
  const Device device = Device::cpu();
  for (const uint32_t keys : {1u, 127u, 128u, 700u, 2100u}) {
    std::vector<float> first;
    for (const uint32_t capacity : {keys, keys + 1, 3000u, 20000u}) {
      Tensors t(device, {128, 8, 2, keys, capacity}, 3);
      // The same keys and values in every cache.
      const std::vector<float> k = random_normal(size_t{2} * keys * 128, 4);
      for (uint32_t head = 0; head < 2; ++head)
        for (size_t i = 0; i < size_t{keys} * 128; ++i) {
          const size_t to = size_t{head} * capacity * 128 + i;
          t.k_values[to] = f16_from_f32(k[head * keys * size_t{128} + i]);
          t.v_values[to] = f16_from_f32(k[(1 - head) * keys * size_t{128} + i]);
        }
      t.k.fill<uint16_t>(t.k_values);
      t.v.fill<uint16_t>(t.v_values);
      const std::vector<float> got = t.run(device, 0);
      if (first.empty()) first = got;
      EXPECT_TRUE(bits_equal(got, first)) << keys << " of " << capacity;
    }
  }
}

TEST(FlashAttnVec, SameBitsForEveryRun) {
  for_each_device([&](const Device& device) {
    for (const FlashAttnVecCase& c :
         {FlashAttnVecCase{256, 4, 1, 3000, 4096}, FlashAttnVecCase{256, 16, 2, 3000, 3000},
          FlashAttnVecCase{256, 8, 4, 500, 500}, FlashAttnVecCase{64, 32, 32, 2000, 2000}}) {
      Tensors t(device, c, 3);
      const std::vector<float> first = t.run(device, 0);
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(bits_equal(t.run(device, 0), first));
    }
  });
}

TEST(FlashAttnVec, ReplayWithParamsInABufferEqualsSingleCalls) {
  for_each_device([&](const Device& device) {
    // Caches for which a GPU chooses another form each.
    for (const FlashAttnVecCase& c :
         {FlashAttnVecCase{256, 4, 1, 1500, 1500, 0, AttnMask::kSlidingWindow, 512},
          FlashAttnVecCase{128, 12, 2, 600, 600, 0, AttnMask::kSlidingWindow, 300}})
      for (const uint32_t workgroups : {0u, 1u, 32u}) {
        Tensors t(device, c, 21);
        // Whole cache valid: which slots count changes from replay to replay.
        FlashAttnVecCase all = c;
        all.mask = AttnMask::kNone;
        t.k.fill<uint16_t>(Tensors::halves(all, 22));
        t.v.fill<uint16_t>(Tensors::halves(all, 23));
        const Buffer params = device.buffer(DType::kU32, {9});
        FlashAttnVecArgs args = t.args(workgroups);
        args.params = params;
        Graph graph = Graph::capture(device, [&](CommandEncoder& e) { flash_attn_vec(e, args); });
        for (const auto& [kv, start] : {std::pair{1u, 0u},
                                        {33u, 0u},
                                        {c.kv_capacity - 1, 0u},
                                        {c.kv_capacity, 0u},
                                        {c.kv_capacity, c.kv_capacity - 1}}) {
          t.params.kv_seq_len = kv;
          t.params.ring_start = start;
          device.write(params, std::as_bytes(std::span(&t.params, 1)));
          t.out.poison();
          graph.replay_and_wait();
          const std::span<const float> out = t.out.view().span<float>();
          const std::vector<float> replayed(out.begin(), out.end());
          EXPECT_TRUE(bits_equal(replayed, t.run(device, workgroups))) << kv << " " << start;
        }
        // What a kernel wrote beyond the capacity is clamped to it.
        t.params.kv_seq_len = c.kv_capacity;
        t.params.ring_start = 0;
        const std::vector<float> full = t.run(device, workgroups);
        t.params.kv_seq_len = 0xFFFFFFFF;
        device.write(params, std::as_bytes(std::span(&t.params, 1)));
        graph.replay_and_wait();
        EXPECT_TRUE(bits_equal(t.out.view().span<float>(), full));
        // Neither does any other content make it leave its tensors.
        for (const uint32_t fill : {0u, 0xFFFFFFFFu}) {
          const std::vector<uint32_t> garbage(9, fill);
          device.write(params, std::as_bytes(std::span(garbage)));
          graph.replay_and_wait();
          EXPECT_TRUE(t.out.intact() && t.tmp.intact());
        }
        device.write(params, std::as_bytes(std::span(&t.params, 1)));
        graph.replay_and_wait();
        EXPECT_TRUE(bits_equal(t.out.view().span<float>(), full));
        // Nothing attended gives zeros.
        t.params.kv_seq_len = 0;
        device.write(params, std::as_bytes(std::span(&t.params, 1)));
        t.out.poison();
        graph.replay_and_wait();
        for (const float x : t.out.view().span<float>()) ASSERT_EQ(x, 0);
      }
  });
}

TEST(FlashAttnVec, ThirtyTwoWorkgroupsFillTmpAsDocumented) {
  for_each_device([&](const Device& device) {
    const FlashAttnVecCase c{256, 4, 2, 70, 70};  // blocks of 32, 32 and 6 keys: workgroups 0, 1, 2
    Tensors t(device, c, 4);
    t.run(device, 32);
    EXPECT_EQ(flash_attn_vec_tmp_bytes(4, 256, 32), 4u * 32 * 258 * 4);
    EXPECT_EQ(flash_attn_vec_tmp_bytes(4, 256, 1), 0u);
    const std::span<const float> tmp = t.tmp.view().span<float>();
    for (uint32_t row = 0; row < 4; ++row)
      for (uint32_t w = 0; w < 32; ++w) {
        const float* sm = &tmp[4 * 256 * 32 + (row * 32 + w) * 2];
        FlashAttnVecParams part = t.params;
        if (w > 2) {
          EXPECT_EQ(sm[0], 0) << row << " " << w;
          EXPECT_EQ(sm[1], -std::numeric_limits<float>::max() / 2) << row << " " << w;
        }
        double largest = 0;
        for (uint32_t i = 0; i < 256; ++i)
          largest = std::max<double>(
              largest, std::abs(tmp[row * 256 * 32 + (i / 4) * 32 * 4 + w * 4 + i % 4]));
        EXPECT_EQ(largest == 0, w > 2) << row << " " << w;
        // S and M of the third workgroup: keys 64 to 69 alone.
        if (w == 2) {
          double max = -HUGE_VAL, sum = 0;
          std::vector<double> scores;
          for (uint32_t key = 64; key < 70; ++key) {
            double dot = 0;
            for (uint32_t i = 0; i < 256; ++i)
              dot += double{t.q_values[row * 256 + i]} *
                     f32_from_f16(t.k_values[((row / 2) * 70 + key) * 256 + i]);
            scores.push_back(dot * part.scale);
            max = std::max(max, scores.back());
          }
          for (const double s : scores) sum += std::exp(s - max);
          EXPECT_NEAR(sm[1], max, 1e-5);
          EXPECT_NEAR(sm[0], sum, 1e-5);
        }
      }
  });
}

TEST(FlashAttnVec, ReduceAlone) {
  for (const uint32_t D : {64u, 128u, 256u}) {
    const uint32_t rows = 5;
    std::vector<float> tmp = random_normal(size_t{rows} * 32 * (D + 2), D);
    for (uint32_t row = 0; row < rows; ++row)
      for (uint32_t w = 0; w < 32; ++w) {
        float* sm = &tmp[flash_attn_vec_tmp_sm(rows, row, w, D)];
        const bool idle = row == 4 || (row == 3 && w != 7) || (row == 2 && w % 3 == 0);
        sm[0] = idle ? 0 : std::abs(sm[0]) + 0.1f;
        sm[1] = idle ? kFlashAttnVecNoMax : sm[1] * 10;
        for (uint32_t i = 0; idle && i < D; ++i) tmp[flash_attn_vec_tmp_o(row, i, w, D)] = 0;
      }
    std::vector<double> want(size_t{rows} * D);
    for (uint32_t row = 0; row < rows; ++row) {
      double max = -HUGE_VAL, sum = 0;
      for (uint32_t w = 0; w < 32; ++w)
        max = std::max<double>(max, tmp[flash_attn_vec_tmp_sm(rows, row, w, D) + 1]);
      for (uint32_t w = 0; w < 32; ++w) {
        const float* sm = &tmp[flash_attn_vec_tmp_sm(rows, row, w, D)];
        sum += sm[0] * std::exp(sm[1] - max);
        for (uint32_t i = 0; i < D; ++i)
          want[row * D + i] += tmp[flash_attn_vec_tmp_o(row, i, w, D)] * std::exp(sm[1] - max);
      }
      for (uint32_t i = 0; i < D; ++i) want[row * D + i] = sum > 0 ? want[row * D + i] / sum : 0;
    }
    for_each_device([&](const Device& device) {
      Guarded in(device, DType::kF32, {tmp.size()}), out(device, DType::kF32, {rows, D});
      in.fill<float>(tmp);
      CommandEncoder encoder(device);
      flash_attn_vec_reduce(encoder, {.tmp = in.view(), .out = out.view()});
      encoder.commit_and_wait();
      EXPECT_TRUE(rows_near(out.view().span<float>(), want, D, 1e-6));
      EXPECT_TRUE(out.intact());
    });
  }
}

TEST(FlashAttnVec, IsMarkedAsSdpaWithABarrierBetweenTheTwoKernels) {
  const Device device = Device::cpu();
  Tensors t(device, {256, 4, 1, 100, 100}, 1);
  CommandEncoder encoder(device);
  flash_attn_vec(encoder, t.args(32));
  ASSERT_EQ(encoder.commands().dispatches.size(), 2u);
  EXPECT_EQ(encoder.commands().dispatches[0].kernel->name, "flash_attn_vec_f16_nwg32_dk256_dv256");
  EXPECT_EQ(encoder.commands().dispatches[1].kernel->name, "flash_attn_vec_reduce_dv256_nwg32");
  EXPECT_EQ(encoder.commands().dispatches[0].kind, OpKind::kSdpa);
  EXPECT_EQ(encoder.commands().dispatches[1].kind, OpKind::kSdpa);
  EXPECT_TRUE(encoder.commands().dispatches[1].barrier_before);
}

TEST(FlashAttnVec, ThePlanDoesNotDependOnTheLiveLength) {
  const Device device = Device::cpu();
  Tensors t(device, {256, 4, 1, 1, 9000}, 1);
  FlashAttnVecArgs args = t.args(0);
  const FlashAttnVecPlan a = plan(args, device);
  args.kv_seq_len = 9000;
  const FlashAttnVecPlan b = plan(args, device);
  EXPECT_EQ(a.splits, b.splits);
  EXPECT_EQ(a.launch.grid, b.launch.grid);
  EXPECT_EQ(a.scratch_bytes, b.scratch_bytes);
}

}  // namespace
}  // namespace decant
