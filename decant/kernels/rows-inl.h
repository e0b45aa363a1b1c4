// Walking a row of floats vector by vector, the end of the row included; its RMS norm.
#if defined(DECANT_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_ROWS_INL_H_
#undef DECANT_KERNELS_ROWS_INL_H_
#else
#define DECANT_KERNELS_ROWS_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Up to Lanes(d) values; what lies behind `count` is neither read nor written, and loads as 0.
template <class D>
HWY_INLINE hn::Vec<D> load_row(D d, const float* from, size_t count) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) return hn::LoadU(d, from);
  HWY_ALIGN float padded[hn::MaxLanes(d)] = {};
  std::copy(from, from + count, padded);
  return hn::Load(d, padded);
}
template <class D>
HWY_INLINE void store_row(hn::Vec<D> v, D d, float* to, size_t count) {
  if (HWY_LIKELY(count >= hn::Lanes(d))) return hn::StoreU(v, d, to);
  HWY_ALIGN float padded[hn::MaxLanes(d)];
  hn::Store(v, d, padded);
  std::copy(padded, padded + count, to);
}

// Calls body(i, count) for i = 0, Lanes(d), ...; count is what is left of the row from i on.
template <class D, class Body>
HWY_INLINE void for_each_vector(D d, size_t row_elems, const Body& body) {
  for (size_t i = 0; i < row_elems; i += hn::Lanes(d)) body(i, row_elems - i);
}

// Rows whose squares leave the range of f32.
inline HWY_NOINLINE float inverse_rms_in_double(const float* x, size_t row_elems, float eps) {
  double sum = 0;
  for (size_t i = 0; i < row_elems; ++i) sum += double{x[i]} * x[i];
  return static_cast<float>(1 / std::sqrt(sum / static_cast<double>(row_elems) + double{eps}));
}

// 1 / sqrt(mean(x^2) + eps). Four chains of additions hide their latency; the order of the
// additions depends on the row's length and the vector's alone.
template <class D>
HWY_INLINE float inverse_rms(D d, const float* x, size_t row_elems, float eps) {
  const size_t lanes = hn::Lanes(d);
  auto sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  size_t i = 0;
  for (; i + 4 * lanes <= row_elems; i += 4 * lanes) {
    const auto x0 = hn::LoadU(d, x + i), x1 = hn::LoadU(d, x + i + lanes);
    const auto x2 = hn::LoadU(d, x + i + 2 * lanes), x3 = hn::LoadU(d, x + i + 3 * lanes);
    sum0 = hn::MulAdd(x0, x0, sum0);
    sum1 = hn::MulAdd(x1, x1, sum1);
    sum2 = hn::MulAdd(x2, x2, sum2);
    sum3 = hn::MulAdd(x3, x3, sum3);
  }
  for (; i < row_elems; i += lanes) {
    const auto v = load_row(d, x + i, row_elems - i);
    sum0 = hn::MulAdd(v, v, sum0);
  }
  const float sum =
      hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3))));
  // Below 1e-30 squares may have been denormal; a NaN ends here too and comes out as one.
  if (HWY_UNLIKELY(!(sum >= 1e-30f && sum <= 3e38f)))
    return inverse_rms_in_double(x, row_elems, eps);
  return 1.0f / std::sqrt(sum / static_cast<float>(row_elems) + eps);
}

// out = x * inv * weight. This and the next round after each step, with no fused multiply-add, so
// that ops of several steps give the bits of the single ones.
template <class D>
HWY_INLINE void scale_row(D d, const float* x, float inv, const float* weight, float* out,
                          size_t row_elems) {
  const auto factor = hn::Set(d, inv);
  for_each_vector(d, row_elems, [&](size_t i, size_t count) HWY_ATTR {
    const auto scaled = hn::Mul(load_row(d, x + i, count), factor);
    store_row(hn::Mul(scaled, load_row(d, weight + i, count)), d, out + i, count);
  });
}

// sum = residual + x * inv * weight; sum may be residual.
template <class D>
HWY_INLINE void add_scaled_row(D d, const float* x, float inv, const float* weight,
                               const float* residual, float* sum, size_t row_elems) {
  const auto factor = hn::Set(d, inv);
  for_each_vector(d, row_elems, [&](size_t i, size_t count) HWY_ATTR {
    const auto scaled = hn::Mul(load_row(d, x + i, count), factor);
    const auto normed = hn::Mul(scaled, load_row(d, weight + i, count));
    store_row(hn::Add(load_row(d, residual + i, count), normed), d, sum + i, count);
  });
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
