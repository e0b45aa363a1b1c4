// Loads and stores of f16 and bf16 rows as f32 vectors, the end of a row included; see rows-inl.h.
#if defined(DECANT_KERNELS_ROWS16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_ROWS16_INL_H_
#undef DECANT_KERNELS_ROWS16_INL_H_
#else
#define DECANT_KERNELS_ROWS16_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "decant/kernels/float16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Lanes(d) values from `from`, which need not be aligned. Exact.
template <class D>
HWY_INLINE hn::Vec<D> load_bf16(D d, const uint16_t* HWY_RESTRICT from) {
  const hn::RebindToUnsigned<D> du32;
  const hn::Rebind<uint16_t, D> du16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, from))));
}

// Rounds to nearest even; overflow gives infinity, NaN stays NaN.
template <class D>
HWY_INLINE void store_bf16(hn::Vec<D> v, D, uint16_t* HWY_RESTRICT to) {
  const hn::RebindToUnsigned<D> du32;
  const hn::RebindToSigned<D> di32;
  const hn::Rebind<uint16_t, D> du16;
  const auto bits = hn::BitCast(du32, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du32, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(du32, 0x7FFF)));
  const auto quiet = hn::Or(bits, hn::Set(du32, 0x400000));
  // Not v != v: Highway's Ne is an ordered comparison on AVX, false for NaN.
  const auto is_nan = hn::RebindMask(du32, hn::IsNaN(v));
  const auto b = hn::ShiftRight<16>(hn::IfThenElse(is_nan, quiet, rounded));
  hn::StoreU(hn::DemoteTo(du16, hn::BitCast(di32, b)), du16, to);
}

// Row types, for templates over them.
struct F16Row {
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const uint16_t* from) {
    return load_f16(d, from);
  }
  template <class D>
  static HWY_INLINE void store(hn::Vec<D> v, D d, uint16_t* to) {
    store_f16(v, d, to);
  }
};
struct BF16Row {
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const uint16_t* from) {
    return load_bf16(d, from);
  }
  template <class D>
  static HWY_INLINE void store(hn::Vec<D> v, D d, uint16_t* to) {
    store_bf16(v, d, to);
  }
};

// Up to Lanes(d) values; what lies behind `count` is neither read nor written, and loads as 0.
template <class Row, class D>
HWY_INLINE hn::Vec<D> load_row16(D d, const uint16_t* from, size_t count) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) return Row::load(d, from);
  HWY_ALIGN uint16_t padded[hn::MaxLanes(d)] = {};
  std::copy(from, from + count, padded);
  return Row::load(d, padded);
}
template <class Row, class D>
HWY_INLINE void store_row16(hn::Vec<D> v, D d, uint16_t* to, size_t count) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) return Row::store(v, d, to);
  HWY_ALIGN uint16_t padded[hn::MaxLanes(d)];
  Row::store(v, d, padded);
  std::copy(padded, padded + count, to);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
