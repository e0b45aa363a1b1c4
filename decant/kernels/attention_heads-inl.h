// Attention of all query heads that share a KV head, over any of its slots, and the merge of parts.
// What the ops that attend one token have in common; they differ in where q comes from and in which
// slots a group of the grid covers.
#if defined(DECANT_KERNELS_ATTENTION_HEADS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_ATTENTION_HEADS_INL_H_
#undef DECANT_KERNELS_ATTENTION_HEADS_INL_H_
#else
#define DECANT_KERNELS_ATTENTION_HEADS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "decant/kernels/attention.h"
#include "decant/kernels/attention_block-inl.h"
#include "decant/kernels/attention_split.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

// The running softmax (M, S, O) of the query heads of one KV head. All memory is the caller's.
template <size_t D>
class AttentionHeads {
 public:
  // q: [heads, D], already multiplied by the scale. k, v: slot 0 of the KV head. out: [heads, D],
  // becomes O. work: attention_work_floats(heads, D), aligned to a vector.
  AttentionHeads(size_t heads, const float* q, const uint16_t* k, const uint16_t* v, float* out,
                 float* work)
      : heads_(heads), q_(q), k_(k), v_(v), out_(out), scores_(work) {
    max_ = scores_ + heads * kScores;
    sum_ = max_ + heads * kAttentionStateFloats;
    rescale_ = sum_ + heads * kAttentionStateFloats;
    std::fill_n(out_, heads * D, 0.0f);
    std::fill_n(max_, heads * kAttentionStateFloats, kAttentionNoMax);
    std::fill_n(sum_, heads * kAttentionStateFloats, 0.0f);
  }

  // Attends the slots [begin, end), block by block. While a block's keys are scored, its values are
  // fetched, and while those are added, the next block's keys; at the end those from slot `next`
  // on, which should be where this thread goes on. That may be anywhere: nothing is read. Into the
  // second level rows are fetched half a block earlier, as the walk of a short block is over before
  // memory has answered, and there is room for them.
  void attend(uint32_t begin, uint32_t end, uint32_t next) {
    const uint32_t block = block_keys(heads_);
    const size_t ahead = (kFetchesToL1 ? 0 : block / 2) * D;
    for (uint32_t slot = begin; slot < end; slot += block) {
      const size_t keys = std::min(end - slot, block);
      const uint16_t *k = k_ + size_t{slot} * D, *v = v_ + size_t{slot} * D;
      const uint16_t* next_k = end - slot > block ? k + block * D : k_ + size_t{next} * D;
      RowFetch fetch_v(v + ahead, keys * D, tiles()), fetch_k(next_k + ahead, block * D, tiles());
      for_tiles([&](auto tile, size_t h) HWY_ATTR {
        score_rows<D, tile()>(q_ + h * D, k, keys, fetch_v, scores_ + h * kScores);
      });
      for_tiles([&](auto tile, size_t h) HWY_ATTR {
        const size_t state = h * kAttentionStateFloats;
        softmax_tile<tile()>(scores_ + h * kScores, keys, max_ + state, sum_ + state,
                             rescale_ + state);
      });
      for_tiles([&](auto tile, size_t h) HWY_ATTR {
        accumulate_values<D, tile()>(scores_ + h * kScores, rescale_ + h * kAttentionStateFloats, v,
                                     keys, fetch_k, out_ + h * D);
      });
    }
  }
  void attend(uint32_t begin, uint32_t end) { attend(begin, end, end); }

  size_t heads() const { return heads_; }
  const float* out(size_t h) const { return out_ + h * D; }
  // Calls f(head, S, M) for each head.
  template <class F>
  void for_each(const F& f) const {
    for_tiles([&](auto tile, size_t h) {
      const size_t state = h * kAttentionStateFloats;
      for (size_t i = 0; i < tile(); ++i) f(h + i, sum_[state + i], max_[state + i]);
    });
  }

 private:
  // Loading and storing the sums, and the softmax's work per block, want a long block. So do
  // fetches, as each walk has to cover memory's latency; but what they bring should stay in the
  // first-level cache until it is used. With few heads memory is the limit, and short blocks are
  // better; with more, arithmetic.
  static constexpr uint32_t block_keys(size_t heads) {
    return attention_block_keys(D) / (heads <= 4 ? 4 : 1);
  }
  static constexpr uint32_t kScores = attention_block_keys(D);  // of a head, at most
  static_assert(kLanes <= kAttentionStateFloats);

  // Walks over a block's rows, but for those of the few heads left over.
  size_t tiles() const { return std::max<size_t>(heads_ / kMaxHeadTile, 1); }

  // Calls f(size, first head) for each tile of heads.
  template <class F>
  HWY_INLINE void for_tiles(const F& f) const {
    size_t h = 0;
    const auto run = [&](auto tile) HWY_ATTR {
      for (; h + tile() <= heads_; h += tile()) f(tile, h);
    };
    if constexpr (kMaxHeadTile >= 8) run(std::integral_constant<size_t, 8>());
    run(std::integral_constant<size_t, 4>());
    run(std::integral_constant<size_t, 2>());
    run(std::integral_constant<size_t, 1>());
  }

  size_t heads_;
  const float* q_;
  const uint16_t* k_;
  const uint16_t* v_;
  float *out_, *scores_, *max_, *sum_, *rescale_;
};

// out = o * factor; out may be o.
template <size_t D>
HWY_INLINE void store_scaled(const float* o, float factor, float* out) {
  const F32 d;
  for (size_t i = 0; i < D; i += kLanes)
    hn::StoreU(hn::Mul(hn::LoadU(d, o + i), hn::Set(d, factor)), d, out + i);
}

HWY_INLINE float reciprocal_or_zero(float sum) { return sum == 0 ? 0 : 1 / sum; }

// One group's share of a KV head. The attended keys, in order of age, are cut into
// attention_parts() of their number; a grid made for a full cache has more groups, and those with
// work are spread evenly among them.
struct AttentionPart {
  AttentionPartials layout;  // layout.parts: the groups of a KV head
  float* partials;           // layout.floats(), shared by all groups of the dispatch
  uint32_t kv_head, group;
  SlotRuns runs;      // the attended slots, of all parts
  const float* q;     // [heads, D] of this KV head, already multiplied by the scale
  const uint16_t* k;  // slot 0 of this KV head
  const uint16_t* v;
  float* out;   // [heads, D] of this KV head
  float* work;  // attention_work_floats(heads, D) of this thread

  // Both numbers of parts are powers of two.
  uint32_t parts() const { return attention_parts(runs.count()); }
  uint32_t stride() const { return layout.parts / parts(); }
  bool has_work() const { return group % stride() == 0; }
  uint32_t part() const { return group / stride(); }
  bool has_newest_key() const { return has_work() && part() + 1 == parts(); }
};

template <size_t D>
void merge_parts(const AttentionPart& group) {
  const F32 d;
  const AttentionPartials& layout = group.layout;
  const uint32_t parts = group.parts();
  constexpr size_t kStrip = 4 * kLanes;
  static_assert(D % kStrip == 0);
  for (size_t h = 0; h < layout.heads; ++h) {
    const auto sm = [&](uint32_t part) {
      return group.partials + layout.sm(group.kv_head, part) + 2 * h;
    };
    float max = kAttentionNoMax, sum = 0;
    for (uint32_t part = 0; part < parts; ++part) max = std::max(max, sm(part)[1]);
    for (uint32_t part = 0; part < parts; ++part)
      sum += sm(part)[0] * hn::GetLane(exp_keep_nan(hn::Set(d, sm(part)[1] - max)));
    const VF32 factor = hn::Set(d, reciprocal_or_zero(sum));
    for (size_t i = 0; i < D; i += kStrip) {
      VF32 o[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
      for (uint32_t part = 0; part < parts; ++part) {
        const VF32 weight = exp_keep_nan(hn::Set(d, sm(part)[1] - max));
        const float* from = group.partials + layout.o(group.kv_head, part) + h * D + i;
        HWY_UNROLL(4)
        for (size_t n = 0; n < 4; ++n)
          o[n] = hn::MulAdd(weight, hn::LoadU(d, from + n * kLanes), o[n]);
      }
      HWY_UNROLL(4)
      for (size_t n = 0; n < 4; ++n)
        hn::StoreU(hn::Mul(o[n], factor), d, group.out + h * D + i + n * kLanes);
    }
  }
}

// Every group with work leaves its triple in `partials`; the one that finishes last merges them, in
// the order of the parts, whoever it is: the same bits every time.
template <size_t D>
void attend_part(const AttentionPart& group) {
  if (!group.has_work()) return;
  const AttentionPartials& layout = group.layout;
  const uint32_t keys = group.runs.count(), parts = group.parts(), part = group.part();
  AttentionHeads<D> heads(layout.heads, group.q, group.k, group.v,
                          group.partials + layout.o(group.kv_head, part), group.work);
  const uint32_t begin = attention_part_begin(keys, parts, part),
                 end = attention_part_begin(keys, parts, part + 1);
  // The keys of the higher slots, run 1, are the older ones.
  uint32_t before = 0;
  for (const size_t r : {1, 0}) {
    const uint32_t from = group.runs.begin[r], count = group.runs.end[r] - from;
    heads.attend(from + std::clamp(begin, before, before + count) - before,
                 from + std::clamp(end, before, before + count) - before);
    before += count;
  }
  float* sm = group.partials + layout.sm(group.kv_head, part);
  heads.for_each([&](size_t h, float sum, float max) {
    sm[2 * h] = sum;
    sm[2 * h + 1] = max;
  });
  std::atomic_ref<uint32_t> finished(reinterpret_cast<uint32_t*>(group.partials)[group.kv_head]);
  if (finished.fetch_add(1, std::memory_order_acq_rel) + 1 < parts) return;
  finished.store(0, std::memory_order_relaxed);  // ready for the next replay
  merge_parts<D>(group);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
