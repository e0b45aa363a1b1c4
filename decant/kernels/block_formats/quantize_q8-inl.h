// Rounds a row of activations to 8 bits, as q8_row.h says.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_QUANTIZE_Q8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_QUANTIZE_Q8_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_QUANTIZE_Q8_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_QUANTIZE_Q8_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>
#include <limits>

#include "decant/kernels/block_formats/dot_bytes-inl.h"
#include "decant/kernels/block_formats/q8_row.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// {op of the four lanes of a, of b, of c, of e}, in an order that op must not mind.
template <class D, class V, class Op>
HWY_INLINE V reduce_fours(D d, V a, V b, V c, V e, const Op& op) {
  const hn::Repartition<int64_t, D> d64;
  const V ab = op(hn::InterleaveLower(d, a, b), hn::InterleaveUpper(d, a, b));
  const V ce = op(hn::InterleaveLower(d, c, e), hn::InterleaveUpper(d, c, e));
  const auto ab64 = hn::BitCast(d64, ab), ce64 = hn::BitCast(d64, ce);
  return op(hn::BitCast(d, hn::InterleaveLower(d64, ab64, ce64)),
            hn::BitCast(d, hn::InterleaveUpper(d64, ab64, ce64)));
}

namespace detail {

using Four = hn::FixedTag<int32_t, 4>;

// The same for four vectors in memory.
template <class Op>
HWY_INLINE hn::Vec<Four> reduce_fours_at(const int32_t* HWY_RESTRICT from, const Op& op) {
  const Four d;
  return reduce_fours(d, hn::Load(d, from), hn::Load(d, from + 4), hn::Load(d, from + 8),
                      hn::Load(d, from + 12), op);
}

// The largest magnitudes of `groups` <= 8 groups of 32, as bits: compared as integers, in which NaN
// is the largest of all; 0 for the other groups. `scratch` is theirs, four lanes a group.
HWY_INLINE void largest_bits(const float* HWY_RESTRICT x, size_t groups,
                             int32_t* HWY_RESTRICT scratch, float* HWY_RESTRICT largest) {
  const hn::CappedTag<float, 8> d;
  const hn::RebindToSigned<decltype(d)> di;
  const Four d4;
  const auto magnitude = [&](const float* from)
                             HWY_ATTR { return hn::BitCast(di, hn::Abs(hn::LoadU(d, from))); };
  for (size_t g = 0; g < 8; ++g) {
    auto bits = hn::Zero(di);
    if (g < groups) {
      HWY_UNROLL(8)
      for (size_t i = 0; i < kQ8Elems; i += hn::Lanes(d))
        bits = hn::Max(bits, magnitude(x + g * kQ8Elems + i));
    }
#if HWY_MAX_BYTES >= 32
    hn::Store(hn::Max(hn::LowerHalf(d4, bits), hn::UpperHalf(d4, bits)), d4, scratch + 4 * g);
#else
    hn::Store(bits, d4, scratch + 4 * g);
#endif
  }
  const auto max = [](hn::Vec<Four> a, hn::Vec<Four> b) HWY_ATTR { return hn::Max(a, b); };
  const hn::RebindToFloat<Four> df;
  for (size_t g = 0; g < 8; g += 4)
    hn::Store(hn::BitCast(df, reduce_fours_at(scratch + 4 * g, max)), df, largest + g);
}

// to.q of group g := x * inverse, rounded.
HWY_INLINE void round_group(const float* HWY_RESTRICT x, size_t g, float inverse,
                            Q8Chunk& HWY_RESTRICT to) {
  const hn::CappedTag<float, 16> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<int8_t, decltype(d)> d8;
  // Adding 1.5 * 2^23 rounds to an integer, ties to even, in the low bits.
  const auto factor = hn::Set(d, inverse), magic = hn::Set(d, 0x1.8p23f);
  int8_t* HWY_RESTRICT q = to.q + g / 4 * 128 + g % 4 * 16;
  HWY_UNROLL(8)
  for (size_t i = 0; i < kQ8Elems; i += hn::Lanes(d)) {
    const auto rounded = hn::Add(hn::Mul(hn::LoadU(d, x + i), factor), magic);
    const auto q32 = hn::Sub(hn::BitCast(di, rounded), hn::BitCast(di, magic));
    hn::StoreU(hn::DemoteTo(d8, q32), d8, q + i / 16 * 64 + i % 16);
  }
}

// The sums, of q and scales.
HWY_INLINE void sum_chunk(Q8Chunk& HWY_RESTRICT chunk) {
  const DotSigned d;
  const DotInts d32;
  const auto zero = hn::Zero(d32);
  HWY_UNROLL(4)
  for (size_t i = 0; i < sizeof chunk.q; i += hn::Lanes(d)) {
    const auto sums =
        dot_bytes<DotUnsigned6>(zero, hn::Set(DotBytes(), 1), hn::Load(d, chunk.q + i));
    hn::Store(hn::Sub(zero, sums), d32, chunk.minus_sum4 + i / 4);
  }
  // Four pieces at a time: the first or second halves of four groups.
  const hn::RebindToFloat<Four> df;
  const auto add = [](hn::Vec<Four> a, hn::Vec<Four> b) HWY_ATTR { return hn::Add(a, b); };
  for (size_t g = 0; g < 8; g += 4) {
    const int32_t* HWY_RESTRICT fours = chunk.minus_sum4 + g / 4 * 32;
    const auto minus_scale = hn::Neg(hn::Load(df, chunk.scale32 + g));
    const auto minus_first = reduce_fours_at(fours, add);
    const auto minus_second = reduce_fours_at(fours + 16, add);
    hn::StoreInterleaved2(minus_first, minus_second, Four(), chunk.minus_sum16 + 2 * g);
    const auto first = hn::ConvertTo(df, minus_first);
    const auto second = hn::ConvertTo(df, minus_second);
    const auto sum0 = hn::Mul(minus_scale, first), sum1 = hn::Mul(minus_scale, second);
    hn::StoreInterleaved2(sum0, sum1, df, chunk.sum16 + 2 * g);
    hn::Store(hn::Mul(minus_scale, hn::Add(first, second)), df, chunk.sum32 + g);
  }
}

HWY_INLINE void quantize_chunk(const float* HWY_RESTRICT x, size_t groups,
                               Q8Chunk& HWY_RESTRICT to) {
  const hn::FixedTag<float, 4> d;
  alignas(16) float largest[8], inverse[8];
  largest_bits(x, groups, to.minus_sum4, largest);
  bool ordinary = groups == 8;
  for (size_t g = 0; g < 8; g += 4) {
    const auto v = hn::Load(d, largest + g);
    const auto in_range = hn::And(hn::Ge(v, hn::Set(d, kQ8Smallest)),
                                  hn::Le(v, hn::Set(d, std::numeric_limits<float>::max())));
    ordinary = ordinary && hn::AllTrue(d, in_range);
    const auto scale = hn::Div(v, hn::Set(d, 127.0f));
    hn::Store(hn::Div(hn::Set(d, 127.0f), v), d, inverse + g);
    hn::Store(scale, d, to.scale32 + g);
    hn::StoreInterleaved2(scale, scale, d, to.scale16 + 2 * g);
  }
  for (size_t g = 0; g < groups; ++g) round_group(x + g * kQ8Elems, g, inverse[g], to);
  if (HWY_UNLIKELY(!ordinary)) {
    for (size_t g = 0; g < 8; ++g) {
      if (largest[g] >= kQ8Smallest && largest[g] <= std::numeric_limits<float>::max()) continue;
      int8_t* q = to.q + g / 4 * 128 + g % 4 * 16;
      std::fill_n(q, 16, int8_t{0});
      std::fill_n(q + 64, 16, int8_t{0});
      const float scale = largest[g] < kQ8Smallest ? 0 : std::numeric_limits<float>::quiet_NaN();
      to.scale32[g] = to.scale16[2 * g] = to.scale16[2 * g + 1] = scale;
    }
  }
  sum_chunk(to);
}

}  // namespace detail

// to[0, q8_chunks(cols)) := x[0, cols), with cols a multiple of 32.
HWY_INLINE void quantize_row(const float* HWY_RESTRICT x, size_t cols, Q8Chunk* HWY_RESTRICT to) {
  constexpr size_t kElems = sizeof to->q;
  for (size_t at = 0; at < cols; at += kElems)
    detail::quantize_chunk(x + at, std::min(cols - at, kElems) / kQ8Elems, to[at / kElems]);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
