// RMS norm and rotation of one head, as ops/qk_norm_rope defines them.
#if defined(DECANT_KERNELS_NORM_ROPE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_NORM_ROPE_INL_H_
#undef DECANT_KERNELS_NORM_ROPE_INL_H_
#else
#define DECANT_KERNELS_NORM_ROPE_INL_H_
#endif

#include "decant/kernels/rows-inl.h"
#include "decant/kernels/rows16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

template <class D>
HWY_INLINE void store_norm_rope(hn::Vec<D> v, D d, float* to, size_t count) {
  store_row(v, d, to, count);
}
template <class D>
HWY_INLINE void store_norm_rope(hn::Vec<D> v, D d, uint16_t* to, size_t count) {
  store_row16<F16Row>(v, d, to, count);
}

// One head of q or k: RMS norm, then RoPE; out is f32 or f16. The halves i and i + half are read
// before either is written, so out may be x.
template <class Out>
HWY_INLINE void norm_rope_head(const float* x, const float* weight, const float* cos, Out* out,
                               size_t head_dim, float eps) {
  const hn::ScalableTag<float> d;
  const size_t half = head_dim / 2;
  const float* sin = cos + half;
  const auto factor = hn::Set(d, inverse_rms(d, x, head_dim, eps));
  for_each_vector(d, half, [&](size_t i, size_t count) HWY_ATTR {
    const auto low =
        hn::Mul(hn::Mul(load_row(d, x + i, count), factor), load_row(d, weight + i, count));
    const auto high = hn::Mul(hn::Mul(load_row(d, x + half + i, count), factor),
                              load_row(d, weight + half + i, count));
    const auto c = load_row(d, cos + i, count), s = load_row(d, sin + i, count);
    store_norm_rope(hn::NegMulAdd(high, s, hn::Mul(low, c)), d, out + i, count);
    store_norm_rope(hn::MulAdd(low, s, hn::Mul(high, c)), d, out + half + i, count);
  });
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
