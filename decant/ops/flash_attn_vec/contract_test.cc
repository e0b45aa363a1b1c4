// Every form over the grid of shapes that the op was made for: equal to the reference and, within
// rounding, to each other.
#include <gtest/gtest.h>

#include <cmath>

#include "decant/ops/flash_attn_vec/cases.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "decant/ops/flash_attn_vec/reference.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::Guarded;
using testing::random_normal;
using testing::rows_near;

constexpr double kBound = 1e-5;
constexpr uint32_t kHeadDim = 256;
constexpr uint16_t kNanHalf = 0x7E01;

// Slots that are not attended hold NaN.
std::vector<uint16_t> halves(const FlashAttnVecCase& c, uint64_t seed) {
  const std::vector<float> values =
      random_normal(size_t{c.num_kv_heads} * c.kv_capacity * kHeadDim, seed);
  std::vector<uint16_t> halves(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const auto slot = static_cast<uint32_t>(i / kHeadDim % c.kv_capacity);
    const uint32_t age = logical_of_slot(slot, c.ring_start, c.kv_capacity);
    const bool attended = slot < c.kv_seq_len && age < c.kv_seq_len &&
                          age >= window_start(c.mask, c.sliding_window, c.kv_seq_len);
    halves[i] = attended ? f16_from_f32(values[i]) : kNanHalf;
  }
  return halves;
}

void check(const Device& device, const FlashAttnVecCase& c) {
  SCOPED_TRACE(fmt::format("heads {}/{} kv {} of {} ring_start {} window {}", c.num_heads,
                           c.num_kv_heads, c.kv_seq_len, c.kv_capacity, c.ring_start,
                           c.sliding_window));
  const Shape cache{c.num_kv_heads, c.kv_capacity, kHeadDim}, heads{c.num_heads, kHeadDim};
  Guarded q(device, DType::kF32, heads), k(device, DType::kF16, cache),
      v(device, DType::kF16, cache), out(device, DType::kF32, heads),
      tmp(device, DType::kF32, {flash_attn_vec_tmp_bytes(c.num_heads, kHeadDim, 32) / 4});
  const std::vector<float> q_values = random_normal(size_t{c.num_heads} * kHeadDim, 1, 2.0f);
  const std::vector<uint16_t> k_values = halves(c, 2), v_values = halves(c, 3);
  q.fill<float>(q_values);
  k.fill<uint16_t>(k_values);
  v.fill<uint16_t>(v_values);
  const FlashAttnVecParams params{c.num_heads,
                                  c.num_kv_heads,
                                  kHeadDim,
                                  c.kv_seq_len,
                                  c.kv_capacity,
                                  1.0f / 16,
                                  static_cast<uint32_t>(c.mask),
                                  c.sliding_window,
                                  c.ring_start};
  const reference::Attention want = reference::flash_attn_vec(params, q_values, k_values, v_values);
  std::vector<double> first;
  for (const uint32_t workgroups : {1u, 32u, 0u}) {
    SCOPED_TRACE(workgroups);
    out.poison();
    tmp.poison();
    CommandEncoder encoder(device);
    flash_attn_vec(encoder, {.q = q.view(),
                             .k = k.view(),
                             .v = v.view(),
                             .out = out.view(),
                             .kv_seq_len = c.kv_seq_len,
                             .scale = params.scale,
                             .mask = c.mask,
                             .sliding_window = c.sliding_window,
                             .ring_start = c.ring_start,
                             .workgroups_per_head = workgroups,
                             .tmp = workgroups == 32 ? tmp.view() : Buffer{}});
    encoder.commit_and_wait();
    const std::span<const float> got = out.view().span<float>();
    EXPECT_TRUE(rows_near(got, want.out, kHeadDim, kBound, want.scale));
    if (first.empty()) first.assign(got.begin(), got.end());
    EXPECT_TRUE(rows_near(got, first, kHeadDim, kBound, want.scale));
    EXPECT_TRUE(out.intact() && tmp.intact() && q.intact() && k.intact() && v.intact());
  }
}

TEST(FlashAttnVecContract, ShapesLengthsRingsAndWindows) {
  constexpr uint32_t kHeads[][2] = {{4, 1}, {8, 4}, {16, 8}, {16, 2}};
  const Device device = testing::test_device();
  for (const auto& [num_heads, num_kv_heads] : kHeads)
    for (const uint32_t kv : {1u, 31u, 32u, 33u, 512u, 1024u, 1025u})
      for (const uint32_t window : {0u, 1u, 31u, 512u}) {
        FlashAttnVecCase c{kHeadDim, num_heads, num_kv_heads, kv, kv + 9};
        c.mask = window ? AttnMask::kSlidingWindow : AttnMask::kCausal;
        c.sliding_window = window;
        // Before the wrap, at it, one slot after it, and further on.
        check(device, c);
        c.kv_capacity = kv;
        for (const uint32_t start : {0u, 1u, kv / 2 + 1})
          if (start < kv) {
            c.ring_start = start;
            check(device, c);
          }
      }
}

std::string text_of(const Dispatch& d) {
  return fmt::format("{}: {} x {} x {} groups of {} threads, {} bytes{}", d.kernel->name,
                     d.launch.grid.x, d.launch.grid.y, d.launch.grid.z, d.launch.group.count(),
                     d.launch.shared_bytes, d.barrier_before ? ", after a barrier" : "");
}

// Names, grids, threads, threadgroup memory and slots: Metal's, to the letter.
TEST(FlashAttnVecContract, LaunchShapesOnMetal) {
  if (!testing::on_metal()) GTEST_SKIP() << "SKIPPED: runs with DECANT_TEST_DEVICE=metal";
  const Device device = testing::test_device();
  constexpr uint32_t kHeads = 8, kKvHeads = 4, kCapacity = 1025;
  const Buffer q = device.buffer(DType::kF32, {kHeads, kHeadDim}),
               k = device.buffer(DType::kF16, {kKvHeads, kCapacity, kHeadDim}),
               v = device.buffer(DType::kF16, {kKvHeads, kCapacity, kHeadDim}),
               out = device.buffer(DType::kF32, {kHeads, kHeadDim}),
               tmp =
                   device.buffer(DType::kF32, {flash_attn_vec_tmp_bytes(kHeads, kHeadDim, 32) / 4});
  EXPECT_EQ(tmp.byte_len(), kHeads * 32 * (kHeadDim + 2) * 4);
  // The dispatches, and what stands in the slots of the first from 1 on.
  const auto record = [&](uint32_t workgroups) {
    CommandEncoder encoder(device);
    flash_attn_vec(encoder, {.q = q,
                             .k = k,
                             .v = v,
                             .out = out,
                             .kv_seq_len = kCapacity,
                             .scale = 1,
                             .workgroups_per_head = workgroups,
                             .tmp = workgroups == 32 ? tmp : Buffer{}});
    const CommandList& list = encoder.commands();
    std::vector<std::string> texts;
    for (const Dispatch& d : list.dispatches) texts.push_back(text_of(d));
    const auto args = list.args_of(list.dispatches[0]);
    EXPECT_EQ(args[0].bytes_len, 36u);
    const Buffer* const slots[] = {&q, &k, &v, workgroups == 1 ? &out : &tmp};
    for (size_t i = 0; i < 3 + (workgroups != 0); ++i)
      EXPECT_EQ(args[i + 1].buffer.host(), slots[i]->host()) << i + 1;
    if (workgroups == 32) {
      const auto reduce = list.args_of(list.dispatches[1]);
      EXPECT_EQ(reduce[0].bytes_len, 4u);
      EXPECT_EQ(reduce[1].buffer.host(), tmp.host());
      EXPECT_EQ(reduce[2].buffer.host(), out.host());
    }
    return texts;
  };
  EXPECT_EQ(record(1), (std::vector<std::string>{
                           "flash_attn_vec_f16_dk256_dv256: 1 x 8 x 1 groups of 32 threads, 1792 "
                           "bytes"}));
  EXPECT_EQ(record(32), (std::vector<std::string>{
                            "flash_attn_vec_f16_nwg32_dk256_dv256: 1 x 8 x 32 groups of 32 "
                            "threads, 1792 bytes",
                            "flash_attn_vec_reduce_dv256_nwg32: 8 x 1 x 1 groups of 1024 threads, "
                            "0 bytes, after a barrier"}));
  // The planner's own choice: two heads of a KV head read its rows once.
  EXPECT_EQ(record(0)[0],
            "flash_attn_vec_f16_nwg32_h2_dk256_dv256: 1 x 4 x 32 groups of 32 threads, 2304 bytes");
}

}  // namespace
}  // namespace decant
