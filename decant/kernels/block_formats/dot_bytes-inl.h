// Sums of products of 8-bit integers: the one place with native instructions, for which Highway
// 1.0.3 has no operation.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_DOT_BYTES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_DOT_BYTES_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_DOT_BYTES_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_DOT_BYTES_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DotBytes = hn::CappedTag<uint8_t, 64>;
using DotSigned = hn::RebindToSigned<DotBytes>;
using DotInts = hn::Repartition<int32_t, DotBytes>;
using DotFloats = hn::Repartition<float, DotBytes>;

// What the weights of a dot product may be.
struct DotUnsigned6 {  // 0 to 63
  static constexpr int kOffset = 0;
  static constexpr bool kSigned = false;
};
template <int kOff>
struct DotOffset6 {  // the same, and kOff, a power of 2, is subtracted from them
  static constexpr int kOffset = kOff;
  static constexpr bool kSigned = false;
};
struct DotSigned8 {  // -128 to 127
  static constexpr int kOffset = 0;
  static constexpr bool kSigned = true;
};

namespace detail {

#if HWY_ARCH_X86
// Products of neighbouring bytes, w unsigned and q signed, added in 16 bits.
HWY_INLINE auto add_pairs(hn::Vec<DotBytes> w, hn::Vec<DotSigned> q) {
  using V = hn::Vec<hn::Repartition<int16_t, DotBytes>>;
#if HWY_TARGET <= HWY_AVX3
  return V{_mm512_maddubs_epi16(w.raw, q.raw)};
#elif HWY_TARGET == HWY_AVX2
  return V{_mm256_maddubs_epi16(w.raw, q.raw)};
#else
  return V{_mm_maddubs_epi16(w.raw, q.raw)};
#endif
}

// w q with the signs of w moved to q, as add_pairs needs it. A pair's sum is at most 2 * 128 * 127,
// which fits in 16 bits.
HWY_INLINE auto add_signed_pairs(hn::Vec<DotBytes> w, hn::Vec<DotSigned> q) {
#if HWY_TARGET <= HWY_AVX3
  q.raw = _mm512_mask_sub_epi8(q.raw, _mm512_movepi8_mask(w.raw), _mm512_setzero_si512(), q.raw);
  w.raw = _mm512_abs_epi8(w.raw);
#elif HWY_TARGET == HWY_AVX2
  q.raw = _mm256_sign_epi8(q.raw, w.raw);
  w.raw = _mm256_abs_epi8(w.raw);
#else
  q.raw = _mm_sign_epi8(q.raw, w.raw);
  w.raw = _mm_abs_epi8(w.raw);
#endif
  return add_pairs(w, q);
}

HWY_INLINE hn::Vec<DotInts> widen_pairs(hn::Vec<hn::Repartition<int16_t, DotBytes>> v) {
  using V = hn::Vec<DotInts>;
#if HWY_TARGET <= HWY_AVX3
  return V{_mm512_madd_epi16(v.raw, _mm512_set1_epi16(1))};
#elif HWY_TARGET == HWY_AVX2
  return V{_mm256_madd_epi16(v.raw, _mm256_set1_epi16(1))};
#else
  return V{_mm_madd_epi16(v.raw, _mm_set1_epi16(1))};
#endif
}
#endif  // HWY_ARCH_X86

#if HWY_TARGET == HWY_AVX3_DL
// sums + four products w q in each lane, w unsigned. AVX-512 VNNI is what makes a machine AVX3_DL,
// yet Highway 1.0.3 does not tell the compiler, which therefore refuses the intrinsic.
HWY_INLINE hn::Vec<DotInts> add_fours(hn::Vec<DotInts> sums, hn::Vec<DotBytes> w,
                                      hn::Vec<DotSigned> q) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums.raw) : "v"(w.raw), "v"(q.raw));
  return sums;
}
#endif

}  // namespace detail

// The first dot product's (w - offset) q, plus the second's if there is one, four neighbouring
// products of each in a lane. q is -127 to 127.
// `minus_sums` is what all w = -1 would give. Exact.
template <class W, class... Second>
HWY_INLINE hn::Vec<DotInts> dot_bytes(hn::Vec<DotInts> minus_sums, hn::Vec<DotBytes> w,
                                      hn::Vec<DotSigned> q, Second... second) {
  static_assert(sizeof...(Second) == 0 || sizeof...(Second) == 2);
  constexpr bool kTwo = sizeof...(Second) == 2;
  [[maybe_unused]] constexpr int kShift =
      W::kSigned ? 7 : static_cast<int>(hwy::FloorLog2(static_cast<uint32_t>(W::kOffset | 1)));
#if HWY_TARGET == HWY_AVX3_DL
  auto sums = hn::Zero(DotInts());
  if constexpr (W::kSigned || W::kOffset != 0) sums = hn::ShiftLeft<kShift>(minus_sums);
  if constexpr (W::kSigned) w = hn::Xor(w, hn::Set(DotBytes(), 0x80));  // w + 128, unsigned
  sums = detail::add_fours(sums, w, q);
  if constexpr (kTwo) {
    const auto add = [&](hn::Vec<DotBytes> w2, hn::Vec<DotSigned> q2) HWY_ATTR {
      if constexpr (W::kSigned) w2 = hn::Xor(w2, hn::Set(DotBytes(), 0x80));
      sums = detail::add_fours(sums, w2, q2);
    };
    add(second...);
  }
  return sums;
#elif HWY_ARCH_X86
  if constexpr (W::kSigned) {
    auto sums = detail::widen_pairs(detail::add_signed_pairs(w, q));
    if constexpr (kTwo)
      sums = hn::Add(sums, detail::widen_pairs(detail::add_signed_pairs(second...)));
    return sums;
  } else {
    // Two pairs' sum, at most 4 * 63 * 127, still fits in 16 bits.
    auto pairs = detail::add_pairs(w, q);
    if constexpr (kTwo) pairs = hn::Add(pairs, detail::add_pairs(second...));
    auto sums = detail::widen_pairs(pairs);
    if constexpr (W::kOffset != 0) sums = hn::Add(sums, hn::ShiftLeft<kShift>(minus_sums));
    return sums;
  }
#else  // both factors signed
  (void)minus_sums;
  const DotSigned d8;
  const auto signed_w = [&](hn::Vec<DotBytes> u) HWY_ATTR {
    return hn::BitCast(d8, hn::Sub(u, hn::Set(DotBytes(), W::kOffset)));
  };
#if HWY_TARGET == HWY_NEON && defined(__ARM_FEATURE_DOTPROD)
  int32x4_t sums = vdotq_s32(vdupq_n_s32(0), signed_w(w).raw, q.raw);
  const auto add = [&](hn::Vec<DotBytes> w2, hn::Vec<DotSigned> q2)
                       HWY_ATTR { sums = vdotq_s32(sums, signed_w(w2).raw, q2.raw); };
  if constexpr (kTwo) add(second...);
  return hn::Vec<DotInts>{sums};
#elif HWY_TARGET == HWY_NEON
  // Two products' sum is at most 2 * 128 * 127, which fits in 16 bits.
  const int8x16_t w8 = signed_w(w).raw;
  int16x8_t low = vmull_s8(vget_low_s8(w8), vget_low_s8(q.raw));
  int16x8_t high = vmull_s8(vget_high_s8(w8), vget_high_s8(q.raw));
  const auto add = [&](hn::Vec<DotBytes> w2, hn::Vec<DotSigned> q2) HWY_ATTR {
    const int8x16_t v8 = signed_w(w2).raw;
    low = vmlal_s8(low, vget_low_s8(v8), vget_low_s8(q2.raw));
    high = vmlal_s8(high, vget_high_s8(v8), vget_high_s8(q2.raw));
  };
  if constexpr (kTwo) add(second...);
  return hn::Vec<DotInts>{vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high))};
#else
  static_assert(hn::MaxLanes(DotBytes()) == 16);
  const hn::Repartition<int16_t, DotBytes> d16;
  const hn::Half<DotSigned> half;
  const DotInts d32;
  // Eight products in 16 bits, and the sums of neighbours.
  const auto add_neighbours = [&](hn::Vec<hn::Half<DotSigned>> s,
                                  hn::Vec<hn::Half<DotSigned>> v) HWY_ATTR {
    const auto products = hn::BitCast(d32, hn::Mul(hn::PromoteTo(d16, s), hn::PromoteTo(d16, v)));
    return hn::Add(hn::ShiftRight<16>(hn::ShiftLeft<16>(products)), hn::ShiftRight<16>(products));
  };
  const auto fours = [&](hn::Vec<DotBytes> u, hn::Vec<DotSigned> v) HWY_ATTR {
    const auto s = signed_w(u);
    const auto low = add_neighbours(hn::LowerHalf(half, s), hn::LowerHalf(half, v));
    const auto high = add_neighbours(hn::UpperHalf(half, s), hn::UpperHalf(half, v));
    return hn::Add(hn::ConcatEven(d32, high, low), hn::ConcatOdd(d32, high, low));
  };
  auto sums = fours(w, q);
  if constexpr (kTwo) sums = hn::Add(sums, fours(second...));
  return sums;
#endif
#endif
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
