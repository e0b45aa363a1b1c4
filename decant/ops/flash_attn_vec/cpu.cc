// A KV head's keys are read once for all query heads of its group, in short blocks: scores, online
// softmax, values. What a group of the grid covers is the only difference between the three forms.
#include "decant/ops/flash_attn_vec/cpu.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "decant/kernels/attention.h"
#include "decant/kernels/attention_split.h"
#include "decant/ops/flash_attn_vec/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/flash_attn_vec/cpu.cc"
#include <hwy/foreach_target.h>
// Below foreach_target.h: included once for each target.
#include <hwy/highway.h>

#include "decant/kernels/attention_heads-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;  // NOLINT: the kernels' shared algebra

static_assert(kFlashAttnVecNoMax == kAttentionNoMax);

// The params, with every size taken from what the host launched: a struct in a buffer may hold
// anything, and must not make a kernel leave its tensors.
template <size_t D>
FlashAttnVecParams checked_params(const CpuGroup& group, uint32_t kv_heads) {
  FlashAttnVecParams p = group.params<FlashAttnVecParams>();
  p.num_kv_heads = kv_heads;
  p.num_heads = static_cast<uint32_t>(group.args[1].bytes / (D * sizeof(float)));
  p.kv_capacity = static_cast<uint32_t>(group.args[2].bytes / (D * sizeof(uint16_t)) / kv_heads);
  return p;
}

// The attended slots. Lengths that a device wrote are clamped to the cache.
HWY_INLINE SlotRuns attended(const FlashAttnVecParams& p) {
  const uint32_t live = std::min(p.kv_seq_len, p.kv_capacity);
  const uint32_t first = window_start(static_cast<AttnMask>(p.mask_type), p.sliding_window, live);
  return slot_runs(first, live, std::min(p.ring_start, p.kv_capacity - 1), p.kv_capacity);
}

// The group's q times the scale, at the start of its scratch. What follows is free.
template <size_t D>
HWY_INLINE float* scaled_q(const FlashAttnVecParams& p, uint32_t kv_head, const CpuGroup& group) {
  const size_t floats = size_t{p.num_heads / p.num_kv_heads} * D;
  const float* from = group.arg<const float>(1) + kv_head * floats;
  float* to = reinterpret_cast<float*>(group.shared);
  const F32 d;
  for (size_t i = 0; i < floats; i += kLanes)
    hn::Store(hn::Mul(hn::LoadU(d, from + i), hn::Set(d, p.scale)), d, to + i);
  return to;
}

template <size_t D>
AttentionHeads<D> group_heads(const FlashAttnVecParams& p, uint32_t kv_head,
                              const CpuGroup& group) {
  const size_t heads = p.num_heads / p.num_kv_heads, slots = size_t{kv_head} * p.kv_capacity;
  float* q = scaled_q<D>(p, kv_head, group);
  float* out = q + heads * D;
  return {heads,
          q,
          group.arg<const uint16_t>(2) + slots * D,
          group.arg<const uint16_t>(3) + slots * D,
          out,
          out + heads * D};
}

template <size_t D>
void one(const CpuGroup& group) {
  const FlashAttnVecParams p = checked_params<D>(group, group.grid.x);
  const uint32_t kv_head = group.group.x;
  AttentionHeads<D> state = group_heads<D>(p, kv_head, group);
  const SlotRuns runs = attended(p);
  for (size_t r = 0; r < 2; ++r) state.attend(runs.begin[r], runs.end[r]);
  float* out = group.arg<float>(4) + kv_head * state.heads() * D;
  state.for_each([&](size_t h, float sum, float) {
    store_scaled<D>(state.out(h), reciprocal_or_zero(sum), out + h * D);
  });
}

template <size_t D>
void nwg32(const CpuGroup& group) {
  const FlashAttnVecParams p = checked_params<D>(group, group.grid.x);
  const uint32_t kv_head = group.group.x, w = group.group.y;
  AttentionHeads<D> state = group_heads<D>(p, kv_head, group);
  const SlotRuns runs = attended(p);
  constexpr uint32_t kStep = kFlashAttnVecWorkgroups * kFlashAttnVecBlock;
  for (size_t r = 0; r < 2; ++r) {
    // This workgroup's first block that can reach into the run.
    const uint32_t w_begin = w * kFlashAttnVecBlock;
    const uint32_t skipped = runs.begin[r] > w_begin ? (runs.begin[r] - w_begin) / kStep : 0;
    for (uint64_t block = w_begin + uint64_t{skipped} * kStep; block < runs.end[r];
         block += kStep) {
      const auto begin = std::max(static_cast<uint32_t>(block), runs.begin[r]);
      const auto end =
          static_cast<uint32_t>(std::min<uint64_t>(block + kFlashAttnVecBlock, runs.end[r]));
      if (begin < end) state.attend(begin, end, begin + kStep);
    }
  }
  float* tmp = group.arg<float>(4);
  state.for_each([&](size_t h, float sum, float max) {
    const size_t row = kv_head * state.heads() + h;
    for (uint32_t i = 0; i < D; i += 4)
      std::memcpy(tmp + flash_attn_vec_tmp_o(row, i, w, D), state.out(h) + i, 4 * sizeof(float));
    float* sm = tmp + flash_attn_vec_tmp_sm(p.num_heads, row, w, D);
    sm[0] = sum;
    sm[1] = max;
  });
}

template <size_t D>
void split(const CpuGroup& group) {
  const uint32_t kv_head = group.group.y, kv_heads = group.grid.y;
  const FlashAttnVecParams p = checked_params<D>(group, kv_heads);
  const uint32_t heads = p.num_heads / kv_heads;
  const size_t slots = size_t{kv_head} * p.kv_capacity;
  auto* q = reinterpret_cast<float*>(group.shared);
  const AttentionPart part{.layout = {heads, kv_heads, D, group.grid.x},
                           .partials = group.arg<float>(5),
                           .kv_head = kv_head,
                           .group = group.group.x,
                           .runs = attended(p),
                           .q = q,
                           .k = group.arg<const uint16_t>(2) + slots * D,
                           .v = group.arg<const uint16_t>(3) + slots * D,
                           .out = group.arg<float>(4) + size_t{kv_head} * heads * D,
                           .work = q + size_t{heads} * D};
  if (!part.has_work()) return;
  scaled_q<D>(p, kv_head, group);
  attend_part<D>(part);
}

// out[row] = sum_w O[w] exp(M[w] - max M) / sum_w S[w] exp(M[w] - max M).
template <size_t D>
void reduce(const CpuGroup& group) {
  const F32 d;
  const auto rows = static_cast<uint32_t>(group.params<FlashAttnVecReduceParams>().nrows);
  const uint32_t row = group.group.x;
  const float* tmp = group.arg<const float>(1);
  float* out = group.arg<float>(2) + size_t{row} * D;
  const float* sm = tmp + flash_attn_vec_tmp_sm(rows, row, 0, D);
  constexpr size_t W = kFlashAttnVecWorkgroups;

  float max = sm[1];
  for (size_t w = 1; w < W; ++w) max = std::max(max, sm[2 * w + 1]);
  HWY_ALIGN float weight[W];
  for (size_t w = 0; w < W; ++w) weight[w] = sm[2 * w + 1] - max;
  for (size_t w = 0; w < W; w += kLanes)
    hn::Store(exp_keep_nan(hn::Load(d, weight + w)), d, weight + w);
  float sum = 0;
  for (size_t w = 0; w < W; ++w) sum += sm[2 * w] * weight[w];
  const float factor = reciprocal_or_zero(sum);

  // Four dims of one workgroup are one 128-bit vector.
  const hn::FixedTag<float, 4> d4;
  for (uint32_t i = 0; i < D; i += 4) {
    const float* o = tmp + flash_attn_vec_tmp_o(row, i, 0, D);
    auto total = hn::Zero(d4);
    for (size_t w = 0; w < W; ++w)
      total = hn::MulAdd(hn::Set(d4, weight[w]), hn::LoadU(d4, o + 4 * w), total);
    hn::StoreU(hn::Mul(total, hn::Set(d4, factor)), d4, out + i);
  }
}

void one_64(const CpuGroup& g) { one<64>(g); }
void one_128(const CpuGroup& g) { one<128>(g); }
void one_256(const CpuGroup& g) { one<256>(g); }
void nwg32_64(const CpuGroup& g) { nwg32<64>(g); }
void nwg32_128(const CpuGroup& g) { nwg32<128>(g); }
void nwg32_256(const CpuGroup& g) { nwg32<256>(g); }
void split_64(const CpuGroup& g) { split<64>(g); }
void split_128(const CpuGroup& g) { split<128>(g); }
void split_256(const CpuGroup& g) { split<256>(g); }
void reduce_64(const CpuGroup& g) { reduce<64>(g); }
void reduce_128(const CpuGroup& g) { reduce<128>(g); }
void reduce_256(const CpuGroup& g) { reduce<256>(g); }

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(one_64);
HWY_EXPORT(one_128);
HWY_EXPORT(one_256);
HWY_EXPORT(nwg32_64);
HWY_EXPORT(nwg32_128);
HWY_EXPORT(nwg32_256);
HWY_EXPORT(split_64);
HWY_EXPORT(split_128);
HWY_EXPORT(split_256);
HWY_EXPORT(reduce_64);
HWY_EXPORT(reduce_128);
HWY_EXPORT(reduce_256);

CpuKernel flash_attn_vec_one(uint32_t head_dim) {
  if (head_dim == 64) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(one_64)(g); };
  if (head_dim == 128) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(one_128)(g); };
  return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(one_256)(g); };
}
CpuKernel flash_attn_vec_nwg32(uint32_t head_dim) {
  if (head_dim == 64) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(nwg32_64)(g); };
  if (head_dim == 128) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(nwg32_128)(g); };
  return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(nwg32_256)(g); };
}
CpuKernel flash_attn_vec_split(uint32_t head_dim) {
  if (head_dim == 64) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(split_64)(g); };
  if (head_dim == 128) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(split_128)(g); };
  return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(split_256)(g); };
}
CpuKernel flash_attn_vec_reduce(uint32_t head_dim) {
  if (head_dim == 64) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(reduce_64)(g); };
  if (head_dim == 128) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(reduce_128)(g); };
  return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(reduce_256)(g); };
}

uint32_t flash_attn_vec_shared_bytes(uint32_t heads, uint32_t head_dim) {
  const size_t floats = 2 * size_t{heads} * head_dim + attention_work_floats(heads, head_dim);
  return static_cast<uint32_t>(floats * sizeof(float));
}

size_t flash_attn_vec_scratch_bytes(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                    uint32_t splits) {
  return AttentionPartials{num_heads / num_kv_heads, num_kv_heads, head_dim, splits}.floats() *
         sizeof(float);
}
}  // namespace decant::cpu
#endif
