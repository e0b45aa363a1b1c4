// The tanh form of GELU (Hendrycks and Gimpel, arXiv 1606.08415).
#if defined(DECANT_KERNELS_GELU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_GELU_INL_H_
#undef DECANT_KERNELS_GELU_INL_H_
#else
#define DECANT_KERNELS_GELU_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 0.5 (1 + tanh(u)) is the logistic function of 2u, which needs one exp and one division.
template <class D, class V>
HWY_INLINE V gelu(D d, V x) {
  const V two_u = hn::Mul(hn::Mul(hn::Set(d, 1.5957691216057308f), x),
                          hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), x), x, hn::Set(d, 1.0f)));
  // Below -80 the logistic is 0 in f32, above 80 it is 1; the clamp keeps exp finite. A NaN fails
  // both comparisons and passes through the division.
  const V clamped = hn::Min(hn::Max(two_u, hn::Set(d, -80.0f)), hn::Set(d, 80.0f));
  const V result = hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(clamped))));
  return hn::IfThenZeroElse(hn::Lt(two_u, hn::Set(d, -80.0f)), result);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
