// A KV head's keys are read once for all query heads of its group, in blocks of 64: scores, online
// softmax, values. What a group of the grid covers is the only difference between the three forms.
#include "decant/ops/flash_attn_vec/cpu.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

#include "decant/kernels/attention.h"
#include "decant/ops/flash_attn_vec/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/flash_attn_vec/cpu.cc"
#include <hwy/foreach_target.h>
// Below foreach_target.h: included once for each target.
#include <hwy/highway.h>

#include "decant/kernels/attention_block-inl.h"

// A block of keys stays in L1 between its two products: 64 keys x 256 dims x 2 bytes = 32 KB of K.
#ifndef DECANT_FLASH_ATTN_VEC_BLOCK
#define DECANT_FLASH_ATTN_VEC_BLOCK
namespace decant::cpu {
inline constexpr uint32_t kBlockKeys = 64;
inline constexpr size_t round64(size_t floats) { return (floats + 15) / 16 * 16; }

// The split form's scratch: counters, then O [kv_head][split][heads * D], then {S, M} likewise.
struct SplitScratch {
  uint32_t heads, kv_heads, head_dim, splits;
  size_t counters() const { return round64(kv_heads); }
  size_t o(uint32_t kv_head, uint32_t split) const {
    return counters() + (size_t{kv_head} * splits + split) * heads * head_dim;
  }
  size_t sm(uint32_t kv_head, uint32_t split) const {
    return o(kv_heads, 0) + (size_t{kv_head} * splits + split) * heads * 2;
  }
  size_t floats() const { return sm(kv_heads, 0); }
};
}  // namespace decant::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;  // NOLINT: the kernels' shared algebra

// The running softmax of all query heads of one KV head, in the group's scratch.
template <size_t D>
class HeadGroup {
 public:
  HeadGroup(const FlashAttnVecParams& p, uint32_t kv_head, const CpuGroup& group)
      : heads_(p.num_heads / p.num_kv_heads),
        k_(group.arg<const uint16_t>(2) + size_t{kv_head} * p.kv_capacity * D),
        v_(group.arg<const uint16_t>(3) + size_t{kv_head} * p.kv_capacity * D) {
    float* next = reinterpret_cast<float*>(group.shared);
    const auto take = [&next](size_t floats) {
      return std::exchange(next, next + round64(floats));
    };
    q_ = take(heads_ * D);
    out_ = take(heads_ * D);
    scores_ = take(heads_ * kBlockKeys);
    max_ = take(heads_);
    sum_ = take(heads_);
    rescale_ = take(heads_);
    const float* q = group.arg<const float>(1) + size_t{kv_head} * heads_ * D;
    for (size_t i = 0; i < heads_ * D; ++i) q_[i] = q[i] * p.scale;
    std::fill_n(out_, heads_ * D, 0.0f);
    std::fill_n(max_, heads_, kFlashAttnVecNoMax);
    std::fill_n(sum_, heads_, 0.0f);
  }

  // Attends the slots [begin, end).
  void attend(uint32_t begin, uint32_t end) {
    for (uint32_t slot = begin; slot < end; slot += kBlockKeys) {
      const size_t keys = std::min(end - slot, kBlockKeys);
      size_t h = 0;
      if constexpr (kMaxHeadTile >= 8)
        for (; h + 8 <= heads_; h += 8) attend_block<8>(h, slot, keys);
      for (; h + 4 <= heads_; h += 4) attend_block<4>(h, slot, keys);
      if (h + 2 <= heads_) attend_block<2>(std::exchange(h, h + 2), slot, keys);
      if (h < heads_) attend_block<1>(h, slot, keys);
    }
  }

  size_t heads() const { return heads_; }
  const float* out(size_t h) const { return out_ + h * D; }
  float sum(size_t h) const { return sum_[h]; }
  float max(size_t h) const { return max_[h]; }

 private:
  template <size_t HT>
  void attend_block(size_t h, uint32_t slot, size_t keys) {
    const uint16_t* k = k_ + size_t{slot} * D;
    const uint16_t* v = v_ + size_t{slot} * D;
    float* scores = scores_ + h * kBlockKeys;
    score_rows<D, HT>(q_ + h * D, k, v, keys, scores, kBlockKeys);
    const size_t padded = (keys + kLanes - 1) / kLanes * kLanes;
    for (size_t i = 0; i < HT; ++i) {
      std::fill(scores + i * kBlockKeys + keys, scores + i * kBlockKeys + padded, -HUGE_VALF);
      rescale_[h + i] = softmax_block(scores + i * kBlockKeys, padded, max_[h + i], sum_[h + i]);
    }
    accumulate_values<D, HT>(scores, kBlockKeys, rescale_ + h, v, k + kBlockKeys * D, keys,
                             out_ + h * D);
  }

  size_t heads_;
  const uint16_t* k_;
  const uint16_t* v_;
  float *q_, *out_, *scores_, *max_, *sum_, *rescale_;
};

// The params, with every size taken from what the host launched: a struct in a buffer may hold
// anything, and must not make a kernel leave its tensors.
template <size_t D>
FlashAttnVecParams checked_params(const CpuGroup& group) {
  FlashAttnVecParams p = group.params<FlashAttnVecParams>();
  p.num_kv_heads = group.grid.x;
  p.num_heads = static_cast<uint32_t>(group.args[1].bytes / (D * sizeof(float)));
  p.kv_capacity =
      static_cast<uint32_t>(group.args[2].bytes / (D * sizeof(uint16_t)) / group.grid.x);
  return p;
}

// The attended slots. Lengths that a device wrote are clamped to the cache.
HWY_INLINE SlotRuns attended(const FlashAttnVecParams& p) {
  const uint32_t live = std::min(p.kv_seq_len, p.kv_capacity);
  const uint32_t first = window_start(static_cast<AttnMask>(p.mask_type), p.sliding_window, live);
  return slot_runs(first, live, std::min(p.ring_start, p.kv_capacity - 1), p.kv_capacity);
}

// out = o * factor; out may be o.
template <size_t D>
HWY_INLINE void store_scaled(const float* o, float factor, float* out) {
  const F32 d;
  for (size_t i = 0; i < D; i += kLanes)
    hn::StoreU(hn::Mul(hn::LoadU(d, o + i), hn::Set(d, factor)), d, out + i);
}

HWY_INLINE float reciprocal_or_zero(float sum) { return sum == 0 ? 0 : 1 / sum; }

template <size_t D>
void one(const CpuGroup& group) {
  const FlashAttnVecParams p = checked_params<D>(group);
  const uint32_t kv_head = group.group.x;
  HeadGroup<D> state(p, kv_head, group);
  const SlotRuns runs = attended(p);
  for (size_t r = 0; r < 2; ++r) state.attend(runs.begin[r], runs.end[r]);
  for (size_t h = 0; h < state.heads(); ++h)
    store_scaled<D>(state.out(h), reciprocal_or_zero(state.sum(h)),
                    group.arg<float>(4) + (kv_head * state.heads() + h) * D);
}

template <size_t D>
void nwg32(const CpuGroup& group) {
  const FlashAttnVecParams p = checked_params<D>(group);
  const uint32_t kv_head = group.group.x, w = group.group.y;
  HeadGroup<D> state(p, kv_head, group);
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
      if (begin < end) state.attend(begin, end);
    }
  }
  float* tmp = group.arg<float>(4);
  for (size_t h = 0; h < state.heads(); ++h) {
    const size_t row = kv_head * state.heads() + h;
    for (uint32_t i = 0; i < D; i += 4)
      std::memcpy(tmp + flash_attn_vec_tmp_o(row, i, w, D), state.out(h) + i, 4 * sizeof(float));
    float* sm = tmp + flash_attn_vec_tmp_sm(p.num_heads, row, w, D);
    sm[0] = state.sum(h);
    sm[1] = state.max(h);
  }
}

// Every group leaves its partial result in scratch; the one that finishes last merges them, in the
// order of the splits, whoever it is: the same bits every time.
template <size_t D>
void split(const CpuGroup& group) {
  const FlashAttnVecParams p = checked_params<D>(group);
  const uint32_t kv_head = group.group.x, mine = group.group.y, splits = group.grid.y;
  const uint32_t split_keys = *group.arg<const uint32_t>(6);
  float* scratch = group.arg<float>(5);
  const SplitScratch layout{p.num_heads / p.num_kv_heads, p.num_kv_heads, D, splits};

  const SlotRuns runs = attended(p);
  const auto touches = [&](uint32_t s, size_t r) {
    return s * uint64_t{split_keys} < runs.end[r] &&
           (s + 1) * uint64_t{split_keys} > runs.begin[r] && runs.begin[r] < runs.end[r];
  };
  if (touches(mine, 0) || touches(mine, 1)) {
    HeadGroup<D> state(p, kv_head, group);
    for (size_t r = 0; r < 2; ++r)
      if (touches(mine, r))
        state.attend(std::max(mine * split_keys, runs.begin[r]),
                     static_cast<uint32_t>(
                         std::min<uint64_t>((mine + 1) * uint64_t{split_keys}, runs.end[r])));
    std::memcpy(scratch + layout.o(kv_head, mine), state.out(0), state.heads() * D * sizeof(float));
    float* sm = scratch + layout.sm(kv_head, mine);
    for (size_t h = 0; h < state.heads(); ++h) {
      sm[2 * h] = state.sum(h);
      sm[2 * h + 1] = state.max(h);
    }
  }
  std::atomic_ref<uint32_t> finished(reinterpret_cast<uint32_t*>(scratch)[kv_head]);
  if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 < splits) return;
  finished.store(0, std::memory_order_relaxed);  // ready for the next replay

  const F32 d;
  for (size_t h = 0; h < layout.heads; ++h) {
    float max = kFlashAttnVecNoMax;
    for (uint32_t s = 0; s < splits; ++s)
      if (touches(s, 0) || touches(s, 1))
        max = std::max(max, scratch[layout.sm(kv_head, s) + 2 * h + 1]);
    float* out = group.arg<float>(4) + (size_t{kv_head} * layout.heads + h) * D;
    std::fill_n(out, D, 0.0f);
    float sum = 0;
    for (uint32_t s = 0; s < splits; ++s) {
      if (!touches(s, 0) && !touches(s, 1)) continue;
      const float* sm = scratch + layout.sm(kv_head, s) + 2 * h;
      const float* o = scratch + layout.o(kv_head, s) + h * D;
      const VF32 weight = exp_keep_nan(hn::Set(d, sm[1] - max));
      sum += sm[0] * hn::GetLane(weight);
      for (size_t i = 0; i < D; i += kLanes)
        hn::StoreU(hn::MulAdd(weight, hn::LoadU(d, o + i), hn::LoadU(d, out + i)), d, out + i);
    }
    store_scaled<D>(out, reciprocal_or_zero(sum), out);
  }
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
  const size_t floats = 2 * round64(size_t{heads} * head_dim) +
                        round64(size_t{heads} * kBlockKeys) + 3 * round64(heads);
  return static_cast<uint32_t>(floats * sizeof(float));
}

size_t flash_attn_vec_scratch_bytes(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                    uint32_t splits) {
  return SplitScratch{num_heads / num_kv_heads, num_kv_heads, head_dim, splits}.floats() *
         sizeof(float);
}
}  // namespace decant::cpu
#endif
