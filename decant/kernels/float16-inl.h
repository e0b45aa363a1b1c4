// Vector conversions of f16. Highway 1.0.3 emulates them without infinities and NaN where the
// hardware has none (below AVX2); these are right on every target.
#if defined(DECANT_KERNELS_FLOAT16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_FLOAT16_INL_H_
#undef DECANT_KERNELS_FLOAT16_INL_H_
#else
#define DECANT_KERNELS_FLOAT16_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Lanes(d) values from `from`, which need not be aligned.
template <class D>
HWY_INLINE hn::Vec<D> load_f16(D d, const uint16_t* HWY_RESTRICT from) {
#if HWY_TARGET == HWY_SSE4
  const hn::RebindToUnsigned<D> du32;
  const hn::Rebind<uint16_t, D> du16;
  const auto h = hn::PromoteTo(du32, hn::LoadU(du16, from));
  const auto magnitude = hn::ShiftLeft<13>(hn::And(h, hn::Set(du32, 0x7FFF)));
  const auto sign = hn::ShiftLeft<16>(hn::And(h, hn::Set(du32, 0x8000)));
  const auto finite = hn::Mul(hn::BitCast(d, magnitude), hn::Set(d, 0x1p112f));
  const auto special = hn::BitCast(d, hn::Or(magnitude, hn::Set(du32, 0x7F800000)));
  const auto exponent = hn::And(h, hn::Set(du32, 0x7C00));
  const auto is_special = hn::RebindMask(d, hn::Eq(exponent, hn::Set(du32, 0x7C00)));
  return hn::Or(hn::IfThenElse(is_special, special, finite), hn::BitCast(d, sign));
#else
  const hn::Rebind<hwy::float16_t, D> df16;
  return hn::PromoteTo(d, hn::LoadU(df16, reinterpret_cast<const hwy::float16_t*>(from)));
#endif
}

// Rounds to nearest even; overflow gives infinity, NaN stays NaN.
template <class D>
HWY_INLINE void store_f16(hn::Vec<D> v, [[maybe_unused]] D d, uint16_t* HWY_RESTRICT to) {
#if HWY_TARGET == HWY_SSE4
  const hn::RebindToUnsigned<D> du32;
  const hn::RebindToSigned<D> di32;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::BitCast(du32, v);
  const auto magnitude = hn::And(bits, hn::Set(du32, 0x7FFFFFFF));
  const auto sign = hn::And(hn::ShiftRight<16>(bits), hn::Set(du32, 0x8000));
  const auto odd = hn::And(hn::ShiftRight<13>(magnitude), hn::Set(du32, 1));
  const auto normal =
      hn::ShiftRight<13>(hn::Add(hn::Sub(magnitude, hn::Set(du32, 0x38000000 - 0xFFF)), odd));
  const auto shifted = hn::Add(hn::BitCast(d, magnitude), hn::Set(d, 0.5f));
  const auto denormal = hn::Sub(hn::BitCast(du32, shifted), hn::Set(du32, 0x3F000000));
  // Magnitudes have no sign bit, so the signed comparison orders them.
  const auto below = [&](uint32_t bound) {
    return hn::RebindMask(
        du32, hn::Lt(hn::BitCast(di32, magnitude), hn::Set(di32, static_cast<int32_t>(bound))));
  };
  auto h = hn::IfThenElse(below(0x38800000), denormal, normal);
  h = hn::IfThenElse(below(0x47800000), h, hn::Set(du32, 0x7C00));
  h = hn::IfThenElse(below(0x7F800001), h, hn::Set(du32, 0x7E00));
  // The signed saturation of DemoteTo must not see the top bit: sign-extend the 16 bits first.
  const auto both = hn::BitCast(di32, hn::ShiftLeft<16>(hn::Or(h, sign)));
  const hn::Rebind<int16_t, D> di16;
  hn::StoreU(hn::BitCast(du16, hn::DemoteTo(di16, hn::ShiftRight<16>(both))), du16, to);
#else
  const hn::Rebind<hwy::float16_t, D> df16;
  hn::StoreU(hn::DemoteTo(df16, v), df16, reinterpret_cast<hwy::float16_t*>(to));
#endif
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
