// The two products of attention over a block of keys, for a tile of HT query heads that share them,
// and the online softmax between. All in f32; K and V are f16 and converted as they are loaded.
//
// Per key of head_dim D: 2 * D f16 loads, 2 * HT * D multiply-adds. Both products keep at least
// half of the vector registers as sums, so that no multiply-add waits for another, and use a
// converted vector for all heads of the tile.
//
// Scores, and the weights that they become, lie as [key][head of the tile]. So a vector holds keys
// of several heads, the sums across lanes of four come out in place, and one head costs the softmax
// as little as its lanes.
#if defined(DECANT_KERNELS_ATTENTION_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_ATTENTION_BLOCK_INL_H_
#undef DECANT_KERNELS_ATTENTION_BLOCK_INL_H_
#else
#define DECANT_KERNELS_ATTENTION_BLOCK_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "decant/kernels/fetch-inl.h"
#include "decant/kernels/float16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using VF32 = hn::Vec<F32>;
inline constexpr size_t kLanes = hn::MaxLanes(F32());  // x86 and NEON vectors have one size
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
inline constexpr size_t kVectorRegisters = 32;
#elif HWY_ARCH_ARM_A64
inline constexpr size_t kVectorRegisters = 32;
#else
inline constexpr size_t kVectorRegisters = 16;
#endif
inline constexpr size_t kMaxHeadTile = kVectorRegisters / 4;  // 8 or 4

// --- Sums across lanes

// Within each 128-bit block: [sum of a's, of b's, of c's, of e's].
HWY_INLINE VF32 block_sums(VF32 a, VF32 b, VF32 c, VF32 e) {
  const F32 d;
  const hn::Repartition<uint64_t, F32> d64;
  // [a02 b02 a13 b13], [c02 e02 c13 e13], then [a b c e].
  const VF32 ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const VF32 ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto ab64 = hn::BitCast(d64, ab), ce64 = hn::BitCast(d64, ce);
  return hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, ab64, ce64)),
                 hn::BitCast(d, hn::InterleaveUpper(d64, ab64, ce64)));
}

// [the sum of a's lower half's blocks and its upper half's, the same of b].
HWY_INLINE VF32 fold_halves(VF32 a, VF32 b) {
  const F32 d;
  return hn::Add(hn::ConcatLowerLower(d, b, a), hn::ConcatUpperUpper(d, b, a));
}

// The sum of a vector's 128-bit blocks to to[0..4).
template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_folded(D d, V v, float* HWY_RESTRICT to) {
  const hn::FixedTag<float, 4> d4;
  if constexpr (hn::MaxLanes(D()) == 16) {
    const hn::Half<D> d8;
    const auto half = hn::Add(hn::LowerHalf(d8, v), hn::UpperHalf(d8, v));
    hn::StoreU(hn::Add(hn::LowerHalf(d4, half), hn::UpperHalf(d4, half)), d4, to);
  } else if constexpr (hn::MaxLanes(D()) == 8) {
    hn::StoreU(hn::Add(hn::LowerHalf(d4, v), hn::UpperHalf(d4, v)), d4, to);
  } else {
    hn::StoreU(v, d, to);
  }
}

// to[n] = the sum of sum[n]'s lanes.
template <size_t N>
HWY_INLINE void store_sums(const VF32 (&sum)[N], float* HWY_RESTRICT to) {
  const F32 d;
  if constexpr (N < 4) {
    HWY_UNROLL(4) for (size_t n = 0; n < N; ++n) to[n] = hn::GetLane(hn::SumOfLanes(d, sum[n]));
  } else {
    static_assert(N % 4 == 0);
    constexpr size_t kRows = N / 4, kWhole = kRows * 4 / kLanes * kLanes / 4;
    const auto row = [&](size_t r) HWY_ATTR {
      return block_sums(sum[4 * r], sum[4 * r + 1], sum[4 * r + 2], sum[4 * r + 3]);
    };
    if constexpr (kLanes == 16) {
      HWY_UNROLL(16) for (size_t r = 0; r < kWhole; r += 4) {
        const VF32 even = fold_halves(row(r), row(r + 2)),
                   odd = fold_halves(row(r + 1), row(r + 3));
        const VF32 lower = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(odd), even);
        const VF32 upper = hn::OddEvenBlocks(odd, hn::SwapAdjacentBlocks(even));
        hn::StoreU(hn::Add(lower, upper), d, to + 4 * r);
      }
    } else if constexpr (kLanes == 8) {
      HWY_UNROLL(16)
      for (size_t r = 0; r < kWhole; r += 2)
        hn::StoreU(fold_halves(row(r), row(r + 1)), d, to + 4 * r);
    } else {
      HWY_UNROLL(16) for (size_t r = 0; r < kWhole; ++r) hn::StoreU(row(r), d, to + 4 * r);
    }
    HWY_UNROLL(16) for (size_t r = kWhole; r < kRows; ++r) store_folded(d, row(r), to + 4 * r);
  }
}

// Values that are fetched into the cache while others are computed on: a few lines at a time
// between multiply-adds, evenly over the walks of all tiles of heads. A burst of fetches fills the
// queue of outstanding misses, and then every load behind them waits too.
class RowFetch {
 public:
  // [from, from + count) may lie outside a tensor, as nothing is read. They are fetched within
  // `walks` walks over as many values.
  RowFetch(const uint16_t* from, size_t count, size_t walks)
      : next_(from), end_(from + count), mask_(std::bit_floor(walks) - 1) {}

  // Called before each kBytes of a walk.
  template <size_t kBytes>
  HWY_INLINE void step() {
    constexpr size_t kLine = 64, kLines = (kBytes + kLine - 1) / kLine;
    if ((step_++ & mask_) != 0 || next_ >= end_) return;
    HWY_UNROLL(64)
    for (size_t n = 0; n < kLines; ++n) fetch_line(next_ + n * kLine / 2);
    next_ += kLines * kLine / 2;
  }

 private:
  const uint16_t *next_, *end_;
  size_t mask_, step_ = 0;
};

// --- Scores

// scores[j][h] = q[h] . k[j], of HT heads with KT keys.
template <size_t D, size_t HT, size_t KT>
HWY_INLINE void score_tile(const float* HWY_RESTRICT q, const uint16_t* HWY_RESTRICT k,
                           RowFetch& fetch, float* HWY_RESTRICT scores) {
  const F32 d;
  VF32 sum[KT * HT];
  HWY_UNROLL(64) for (size_t n = 0; n < KT * HT; ++n) sum[n] = hn::Zero(d);
  constexpr size_t kStep = 4 * kLanes;
  for (size_t step = 0; step < D; step += kStep) {
    fetch.step<KT * kStep * 2>();
    HWY_UNROLL(4) for (size_t i = step; i < step + kStep; i += kLanes) {
      VF32 k_j[KT];
      HWY_UNROLL(64) for (size_t j = 0; j < KT; ++j) k_j[j] = load_f16(d, k + j * D + i);
      HWY_UNROLL(64) for (size_t h = 0; h < HT; ++h) {
        const VF32 query = hn::LoadU(d, q + h * D + i);
        HWY_UNROLL(64)
        for (size_t j = 0; j < KT; ++j)
          sum[j * HT + h] = hn::MulAdd(query, k_j[j], sum[j * HT + h]);
      }
    }
  }
  store_sums(sum, scores);
}

// Scores of HT heads with `keys` consecutive keys. What is beyond the last key, up to a whole
// vector, becomes -inf.
template <size_t D, size_t HT>
HWY_INLINE void score_rows(const float* HWY_RESTRICT q, const uint16_t* HWY_RESTRICT k, size_t keys,
                           RowFetch& fetch, float* HWY_RESTRICT scores) {
  // The largest tile keeps three quarters of the registers as sums, or conversions would take as
  // long as multiply-adds.
  constexpr size_t KT = HT == kMaxHeadTile ? 3 : std::min<size_t>(kVectorRegisters / 2 / HT, 8);
  const size_t end = keys * HT, padded = (end + kLanes - 1) / kLanes * kLanes;
  std::fill(scores + end, scores + padded, -HUGE_VALF);
  const auto tile = [&](size_t j, auto keys_tag) HWY_ATTR {
    constexpr size_t kKeys = decltype(keys_tag)::value;
    score_tile<D, HT, kKeys>(q, k + j * D, fetch, scores + j * HT);
  };
  size_t j = 0;
  if constexpr (KT == 3) {
    // A single key's sums would wait for each other: 4 keys are 2 and 2, not 3 and 1.
    for (; keys - j == 3 || keys - j > 4; j += 3) tile(j, std::integral_constant<size_t, 3>());
  } else {
    for (; keys - j >= KT; j += KT) tile(j, std::integral_constant<size_t, KT>());
    if constexpr (KT > 4) {
      for (; keys - j >= 4; j += 4) tile(j, std::integral_constant<size_t, 4>());
    }
  }
  for (; keys - j >= 2; j += 2) tile(j, std::integral_constant<size_t, 2>());
  if (j < keys) tile(j, std::integral_constant<size_t, 1>());
}

// --- Softmax

// exp(x) for x <= 0, to a relative error of 1e-7 + |x| * 2e-8, 0 below -87; NaN stays NaN. 2^r on
// [-0.5, 0.5] is the minimax polynomial of flash_attn_prefill.
HWY_INLINE VF32 exp_keep_nan(VF32 x) {
  const F32 d;
  const hn::RebindToSigned<F32> di;
  const VF32 log2e = hn::Set(d, 1.44269504088896341f);
  const VF32 magic = hn::Set(d, 0x1.8p23f);  // adding it leaves the rounded sum in the low bits
  const VF32 shifted = hn::MulAdd(x, log2e, magic);
  const VF32 r = hn::MulSub(x, log2e, hn::Sub(shifted, magic));
  VF32 y = hn::Set(d, 0.0001534581242594868f);
  y = hn::MulAdd(y, r, hn::Set(d, 0.0013399930903688073f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.009618489071726799f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.05550328642129898f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.24022646248340607f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.6931471824645996f));
  y = hn::MulAdd(y, r, hn::Set(d, 1.0f));
  const auto exponent = hn::Add(hn::BitCast(di, shifted), hn::Set(di, 127));
  // A multiplication, because adding to the exponent bits of a NaN could make it a number.
  y = hn::Mul(y, hn::BitCast(d, hn::ShiftLeft<23>(exponent)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -87.0f)), y);
}

// op over all lanes that belong to one head of a tile of HT, in each of them.
template <size_t HT, class Op>
HWY_INLINE VF32 fold_heads(VF32 x, const Op& op) {
  if constexpr (HT == 1) x = op(x, hn::Shuffle2301(x));
  if constexpr (HT <= 2) x = op(x, hn::Shuffle1032(x));
  if constexpr (kLanes >= 8 && HT <= 4) x = op(x, hn::SwapAdjacentBlocks(x));
  if constexpr (kLanes == 16 && HT <= 8) x = op(x, hn::ConcatLowerUpper(F32(), x, x));
  return x;
}

// Floats of a tile's state, one per lane: head h's value stands at h.
constexpr size_t tile_state(size_t HT) { return HT < kLanes ? kLanes : HT; }

// One tile's online softmax (Milakov and Gimelshein, arXiv 1805.02867) over the next block: turns
// scores into weights exp(score - max), updates max and sum, and leaves in `rescale` the factors
// that the accumulated values must be multiplied by. A NaN score makes the sum NaN without
// poisoning max.
template <size_t HT>
HWY_INLINE void softmax_tile(float* HWY_RESTRICT scores, size_t keys, float* HWY_RESTRICT max,
                             float* HWY_RESTRICT sum, float* HWY_RESTRICT rescale) {
  const F32 d;
  constexpr size_t kStep = tile_state(HT);
  const size_t end = keys * HT;
  HWY_UNROLL(64)
  for (size_t v = 0; v < kStep; v += kLanes) {
    const VF32 old_max = hn::LoadU(d, max + v);
    // Two chains, as each maximum waits for the one before.
    VF32 block_max = old_max, other_max = old_max;
    const auto raise = [&](VF32& m, size_t i) HWY_ATTR {
      const VF32 s = hn::LoadU(d, scores + i);
      m = hn::IfThenElse(hn::Gt(s, m), s, m);
    };
    size_t begin = v;
    for (; begin + kStep < end; begin += 2 * kStep) {
      raise(block_max, begin);
      raise(other_max, begin + kStep);
    }
    if (begin < end) raise(block_max, begin);
    block_max = hn::Max(block_max, other_max);
    const VF32 new_max =
        fold_heads<HT>(block_max, [](VF32 a, VF32 b) HWY_ATTR { return hn::Max(a, b); });
    VF32 total = hn::Zero(d);
    for (size_t i = v; i < end; i += kStep) {
      const VF32 w = exp_keep_nan(hn::Sub(hn::LoadU(d, scores + i), new_max));
      hn::StoreU(w, d, scores + i);
      total = hn::Add(total, w);
    }
    total = fold_heads<HT>(total, [](VF32 a, VF32 b) HWY_ATTR { return hn::Add(a, b); });
    const VF32 factor = exp_keep_nan(hn::Sub(old_max, new_max));
    hn::StoreU(factor, d, rescale + v);
    hn::StoreU(new_max, d, max + v);
    hn::StoreU(hn::MulAdd(hn::LoadU(d, sum + v), factor, total), d, sum + v);
  }
}

// --- Values

// out[h] += sum_j p[j][h] v[j], for HT heads and VT vectors of dims.
template <size_t D, size_t HT, size_t VT>
HWY_INLINE void accumulate_strip(const float* HWY_RESTRICT p, const uint16_t* HWY_RESTRICT v,
                                 size_t keys, RowFetch& fetch, float* HWY_RESTRICT out) {
  const F32 d;
  VF32 sum[HT][VT];
  HWY_UNROLL(64)
  for (size_t h = 0; h < HT; ++h) HWY_UNROLL(64)
  for (size_t t = 0; t < VT; ++t) sum[h][t] = hn::LoadU(d, out + h * D + t * kLanes);
  const auto add_key = [&](size_t j) HWY_ATTR {
    VF32 value[VT];
    HWY_UNROLL(64) for (size_t t = 0; t < VT; ++t) value[t] = load_f16(d, v + j * D + t * kLanes);
    HWY_UNROLL(64) for (size_t h = 0; h < HT; ++h) {
      const VF32 weight = hn::Set(d, p[j * HT + h]);
      HWY_UNROLL(64)
      for (size_t t = 0; t < VT; ++t) sum[h][t] = hn::MulAdd(weight, value[t], sum[h][t]);
    }
  };
  size_t j = 0;
  for (; j + 4 <= keys; j += 4) {
    fetch.step<4 * VT * kLanes * 2>();
    HWY_UNROLL(4) for (size_t n = 0; n < 4; ++n) add_key(j + n);
  }
  for (; j < keys; ++j) add_key(j);
  HWY_UNROLL(64)
  for (size_t h = 0; h < HT; ++h) HWY_UNROLL(64)
  for (size_t t = 0; t < VT; ++t) hn::StoreU(sum[h][t], d, out + h * D + t * kLanes);
}

// out[h] = out[h] * rescale[h] + sum_j p[j][h] v[j], for HT heads and all D dims.
template <size_t D, size_t HT>
HWY_INLINE void accumulate_values(const float* HWY_RESTRICT p, const float* HWY_RESTRICT rescale,
                                  const uint16_t* HWY_RESTRICT v, size_t keys, RowFetch& fetch,
                                  float* HWY_RESTRICT out) {
  const F32 d;
  // Most blocks leave the maximum as it is.
  for (size_t h = 0; h < HT; ++h) {
    if (rescale[h] == 1) continue;
    const VF32 factor = hn::Set(d, rescale[h]);
    for (size_t i = 0; i < D; i += kLanes)
      hn::StoreU(hn::Mul(factor, hn::LoadU(d, out + h * D + i)), d, out + h * D + i);
  }
  constexpr size_t kFit = kVectorRegisters / 2 / HT;
  constexpr size_t VT = std::min(kFit, D / kLanes);
  static_assert(D % (VT * kLanes) == 0);
  for (size_t i = 0; i < D; i += VT * kLanes)
    accumulate_strip<D, HT, VT>(p, v + i, keys, fetch, out + i);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
