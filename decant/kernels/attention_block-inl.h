// The two products of attention over a block of keys, for a tile of query heads that share them,
// and the online softmax between. All in f32; K and V are f16 and converted as they are loaded.
//
// Per key of head_dim D and tile of HT heads: 2 * D f16 loads, 2 * HT * D multiply-adds. The tiles
// are chosen so that the accumulators fill about two thirds of the vector registers and a converted
// vector is used HT times.
#if defined(DECANT_KERNELS_ATTENTION_BLOCK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_ATTENTION_BLOCK_INL_H_
#undef DECANT_KERNELS_ATTENTION_BLOCK_INL_H_
#else
#define DECANT_KERNELS_ATTENTION_BLOCK_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>

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

// The sums of the lanes of a, b, c, d, to to[0..4).
template <class D, class V = hn::Vec<D>>
HWY_INLINE void store_sums4(D d, V a, V b, V c, V e, float* HWY_RESTRICT to) {
  const hn::Repartition<uint64_t, D> d64;
  // Within each 128-bit block: [a02 b02 a13 b13], [c02 e02 c13 e13], then [a b c e].
  const V ab = hn::Add(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const V ce = hn::Add(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto ab64 = hn::BitCast(d64, ab), ce64 = hn::BitCast(d64, ce);
  const V abce = hn::Add(hn::BitCast(d, hn::InterleaveLower(d64, ab64, ce64)),
                         hn::BitCast(d, hn::InterleaveUpper(d64, ab64, ce64)));
  const hn::FixedTag<float, 4> d4;
  if constexpr (hn::MaxLanes(D()) == 16) {
    const hn::Half<D> d8;
    const auto half = hn::Add(hn::LowerHalf(d8, abce), hn::UpperHalf(d8, abce));
    hn::StoreU(hn::Add(hn::LowerHalf(d4, half), hn::UpperHalf(d4, half)), d4, to);
  } else if constexpr (hn::MaxLanes(D()) == 8) {
    hn::StoreU(hn::Add(hn::LowerHalf(d4, abce), hn::UpperHalf(d4, abce)), d4, to);
  } else {
    hn::StoreU(abce, d, to);
  }
}

// scores[h * score_stride + j] = q[h] . k[j] for HT heads and KT keys, rows of D.
template <size_t D, size_t HT, size_t KT>
HWY_INLINE void score_tile(const float* HWY_RESTRICT q, const uint16_t* HWY_RESTRICT k,
                           float* HWY_RESTRICT scores, size_t score_stride) {
  const F32 d;
  VF32 sum[HT][KT];
  HWY_UNROLL(64)
  for (size_t h = 0; h < HT; ++h)
    HWY_UNROLL(64) for (size_t j = 0; j < KT; ++j) sum[h][j] = hn::Zero(d);
  for (size_t i = 0; i < D; i += kLanes) {
    VF32 key[KT];
    HWY_UNROLL(64) for (size_t j = 0; j < KT; ++j) key[j] = load_f16(d, k + j * D + i);
    HWY_UNROLL(64) for (size_t h = 0; h < HT; ++h) {
      const VF32 query = hn::LoadU(d, q + h * D + i);
      HWY_UNROLL(64)
      for (size_t j = 0; j < KT; ++j) sum[h][j] = hn::MulAdd(query, key[j], sum[h][j]);
    }
  }
  HWY_UNROLL(64) for (size_t h = 0; h < HT; ++h) {
    if constexpr (KT % 4 == 0) {
      HWY_UNROLL(64)
      for (size_t j = 0; j < KT; j += 4)
        store_sums4(d, sum[h][j], sum[h][j + 1], sum[h][j + 2], sum[h][j + 3],
                    scores + h * score_stride + j);
    } else {
      HWY_UNROLL(64)
      for (size_t j = 0; j < KT; ++j)
        scores[h * score_stride + j] = hn::GetLane(hn::SumOfLanes(d, sum[h][j]));
    }
  }
}

// Scores of HT heads with `keys` consecutive keys. The V rows of the same keys are fetched towards
// the cache meanwhile: the next product reads them in columns, which no hardware prefetcher
// follows.
template <size_t D, size_t HT>
HWY_INLINE void score_rows(const float* HWY_RESTRICT q, const uint16_t* HWY_RESTRICT k,
                           const uint16_t* HWY_RESTRICT v, size_t keys, float* HWY_RESTRICT scores,
                           size_t score_stride) {
  constexpr size_t KT = 4;
  constexpr size_t kHalfTile = HT > 4 ? 2 : 1;  // 8 heads x 4 keys would spill
  size_t j = 0;
  for (; j + KT <= keys; j += KT) {
    HWY_UNROLL(64)
    for (size_t byte = 0; byte < KT * D * 2; byte += 64)
      hwy::Prefetch(reinterpret_cast<const uint8_t*>(v + j * D) + byte);
    constexpr size_t H = HT / kHalfTile;
    HWY_UNROLL(64)
    for (size_t part = 0; part < kHalfTile; ++part)
      score_tile<D, H, KT>(q + part * H * D, k + j * D, scores + part * H * score_stride + j,
                           score_stride);
  }
  for (; j < keys; ++j) score_tile<D, HT, 1>(q, k + j * D, scores + j, score_stride);
}

// out[h] = out[h] * rescale[h] + sum_j p[h][j] v[j], for HT heads, all D dims in tiles of VT
// vectors. Fetches as many rows from `next` on, the K rows of the next block, towards the cache;
// they may lie outside the tensor, as nothing is read.
template <size_t D, size_t HT>
HWY_INLINE void accumulate_values(const float* HWY_RESTRICT p, size_t p_stride,
                                  const float* HWY_RESTRICT rescale, const uint16_t* HWY_RESTRICT v,
                                  const uint16_t* next, size_t keys, float* HWY_RESTRICT out) {
  const F32 d;
  constexpr size_t kVectors = D / kLanes;
  constexpr size_t kFit = kVectorRegisters * 3 / 4 / (HT + 1);  // HT * VT sums and VT values
  constexpr size_t VT = kFit >= 8 && kVectors % 8 == 0   ? 8
                        : kFit >= 4 && kVectors % 4 == 0 ? 4
                        : kFit >= 2 && kVectors % 2 == 0 ? 2
                                                         : 1;
  for (size_t i = 0; i < D; i += VT * kLanes) {
    VF32 sum[HT][VT];
    HWY_UNROLL(64) for (size_t h = 0; h < HT; ++h) {
      const VF32 factor = hn::Set(d, rescale[h]);
      HWY_UNROLL(64)
      for (size_t t = 0; t < VT; ++t)
        sum[h][t] = hn::Mul(factor, hn::LoadU(d, out + h * D + i + t * kLanes));
    }
    for (size_t j = 0; j < keys; ++j) {
      HWY_UNROLL(64)
      for (size_t t = 0; t < VT * kLanes; t += 32) hwy::Prefetch(next + j * D + i + t);
      VF32 value[VT];
      HWY_UNROLL(64)
      for (size_t t = 0; t < VT; ++t) value[t] = load_f16(d, v + j * D + i + t * kLanes);
      HWY_UNROLL(64) for (size_t h = 0; h < HT; ++h) {
        const VF32 weight = hn::Set(d, p[h * p_stride + j]);
        HWY_UNROLL(64)
        for (size_t t = 0; t < VT; ++t) sum[h][t] = hn::MulAdd(weight, value[t], sum[h][t]);
      }
    }
    HWY_UNROLL(64)
    for (size_t h = 0; h < HT; ++h) HWY_UNROLL(64)
    for (size_t t = 0; t < VT; ++t) hn::StoreU(sum[h][t], d, out + h * D + i + t * kLanes);
  }
}

// exp(x) for x <= 0 with NaN kept (Highway's turns NaN into 0) and -inf giving 0.
HWY_INLINE VF32 exp_keep_nan(VF32 x) {
  const F32 d;
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Exp(d, x));
}

// One head's online softmax (Milakov and Gimelshein, arXiv 1805.02867) over the next block: turns
// scores[0, padded) into weights exp(score - max), updates max and sum, and returns the factor that
// the accumulated values must be multiplied by. `padded` is a multiple of kLanes; what lies beyond
// the block's keys must be -inf. A NaN score makes the sum NaN without poisoning max.
HWY_INLINE float softmax_block(float* HWY_RESTRICT scores, size_t padded, float& max, float& sum) {
  const F32 d;
  VF32 block_max = hn::Set(d, max);
  for (size_t j = 0; j < padded; j += kLanes) {
    const VF32 s = hn::LoadU(d, scores + j);
    block_max = hn::Max(block_max, hn::IfThenElse(hn::IsNaN(s), block_max, s));
  }
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, block_max));
  const VF32 shift = hn::Set(d, new_max);
  VF32 total = hn::Zero(d);
  for (size_t j = 0; j < padded; j += kLanes) {
    const VF32 w = exp_keep_nan(hn::Sub(hn::LoadU(d, scores + j), shift));
    hn::StoreU(w, d, scores + j);
    total = hn::Add(total, w);
  }
  // exp of one lane with the vector function: the same bits as everywhere else.
  const float rescale = hn::GetLane(exp_keep_nan(hn::Set(d, max - new_max)));
  sum = sum * rescale + hn::GetLane(hn::SumOfLanes(d, total));
  max = new_max;
  return rescale;
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
