// Functions of scalars and vectors, component by component. As on Metal, two scalar arguments of
// one call must have one type (max(x, 0) of a float is ambiguous there), and half is computed in
// float and rounded.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_MATH_H_
#define DECANT_TESTING_METAL_HOST_SHIM_MATH_H_

#include "vector.h"

namespace metal {
namespace host {

// Scalars and vectors as they are; swizzles and packed vectors as the vector they read as.
template <typename A>
struct plain {
  using type = A;
};
template <typename V, int N, int... I>
struct plain<swizzle<V, N, I...>> {
  using type = V;
};
template <typename V>
struct plain<packed_vec<V>> {
  using type = V;
};
template <typename A>
using plain_t = typename plain<A>::type;

template <typename A>
struct element {
  static_assert(is_scalar<A>::value, "expected a scalar or a vector");
  using type = A;
};
template <typename T, int N>
struct element<vec<T, N>> {
  using type = T;
};
template <typename A>
using element_t = typename element<plain_t<A>>::type;

template <typename A, typename T>
struct rebind {
  using type = T;
};
template <typename U, int N, typename T>
struct rebind<vec<U, N>, T> {
  using type = vec<T, N>;
};
// A's shape with elements of another type.
template <typename A, typename T>
using rebind_t = typename rebind<plain_t<A>, T>::type;

// The common type of two arguments.
template <typename A, typename B>
struct common2 {
  // A small integer and an int are an int; anything else is ambiguous.
  static constexpr bool promotes = is_integral<A>::value && is_integral<B>::value &&
                                   (is_same<A, int>::value || is_same<B, int>::value) &&
                                   sizeof(A) <= 4 && sizeof(B) <= 4 && !is_same<A, uint>::value &&
                                   !is_same<B, uint>::value;
  static_assert(promotes, "ambiguous call: the arguments have different types");
  using type = int;
};
template <typename A>
struct common2<A, A> {
  using type = A;
};
template <typename T, int N, typename S>
struct common2<vec<T, N>, S> {
  using type = vec<T, N>;
};
template <typename S, typename T, int N>
struct common2<S, vec<T, N>> {
  using type = vec<T, N>;
};
template <typename T, int N>
struct common2<vec<T, N>, vec<T, N>> {
  using type = vec<T, N>;
};
template <typename T, typename U, int N>
struct common2<vec<T, N>, vec<U, N>> {
  static_assert(is_same<T, U>::value, "ambiguous call: vectors of different types");
  using type = vec<T, N>;
};
template <typename A, typename B>
using common_t = typename common2<plain_t<A>, plain_t<B>>::type;
template <typename A, typename B, typename C>
using common3_t = common_t<common_t<A, B>, C>;

template <typename R>
struct mapper {
  template <typename F, typename... A>
  static constexpr R map(F f, const A&... a) {
    return static_cast<R>(f(a...));
  }
};
template <typename T, int N>
struct mapper<vec<T, N>> {
  template <typename F, typename... A>
  static constexpr vec<T, N> map(F f, const A&... a) {
    vec<T, N> r{};
    for (int i = 0; i < N; ++i) r.data[i] = static_cast<T>(f(a.data[i]...));
    return r;
  }
};

template <typename A>
using only_float = enable_if_t<is_floating_point<element_t<A>>::value, int>;

inline float rsqrt1(float x) { return 1.0f / __builtin_sqrtf(x); }
inline float exp10_1(float x) { return __builtin_powf(10.0f, x); }
inline float fract1(float x) {
  const float f = x - __builtin_floorf(x);
  return f < 1.0f ? f : 0x1.fffffep-1f;
}
inline float sign1(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f; }
inline float sinpi1(float x) { return __builtin_sinf(M_PI_F * x); }
inline float cospi1(float x) { return __builtin_cosf(M_PI_F * x); }

}  // namespace host

#define METAL_HOST_MATH1(name, function)                                                 \
  template <typename A, host::only_float<A> = 0>                                         \
  inline host::plain_t<A> name(const A& a) {                                             \
    using R = host::plain_t<A>;                                                          \
    return host::mapper<R>::map([](float x) { return function(x); }, static_cast<R>(a)); \
  }
#define METAL_HOST_MATH2(name, function)                                         \
  template <typename A, typename B, host::only_float<A> = 0>                     \
  inline host::common_t<A, B> name(const A& a, const B& b) {                     \
    using R = host::common_t<A, B>;                                              \
    return host::mapper<R>::map([](float x, float y) { return function(x, y); }, \
                                static_cast<R>(a), static_cast<R>(b));           \
  }
// Everything that exists in a precise and a fast form; here both are the same.
// clang-format off
#define METAL_HOST_MATH_FORMS(M1, M2) \
  M1(acos, __builtin_acosf) M1(acosh, __builtin_acoshf) M1(asin, __builtin_asinf) \
  M1(asinh, __builtin_asinhf) M1(atan, __builtin_atanf) M1(atanh, __builtin_atanhf) \
  M1(ceil, __builtin_ceilf) M1(cos, __builtin_cosf) M1(cosh, __builtin_coshf) \
  M1(cospi, host::cospi1) M1(exp, __builtin_expf) M1(exp2, __builtin_exp2f) \
  M1(exp10, host::exp10_1) M1(fabs, __builtin_fabsf) M1(floor, __builtin_floorf) \
  M1(fract, host::fract1) M1(log, __builtin_logf) M1(log2, __builtin_log2f) \
  M1(log10, __builtin_log10f) M1(rint, __builtin_rintf) M1(round, __builtin_roundf) \
  M1(rsqrt, host::rsqrt1) M1(sign, host::sign1) M1(sin, __builtin_sinf) \
  M1(sinh, __builtin_sinhf) M1(sinpi, host::sinpi1) M1(sqrt, __builtin_sqrtf) \
  M1(tan, __builtin_tanf) M1(tanh, __builtin_tanhf) M1(trunc, __builtin_truncf) \
  M2(atan2, __builtin_atan2f) M2(copysign, __builtin_copysignf) M2(fmod, __builtin_fmodf) \
  M2(fmax, __builtin_fmaxf) M2(fmin, __builtin_fminf) M2(pow, __builtin_powf) \
  M2(powr, __builtin_powf) M2(fdim, __builtin_fdimf)
// clang-format on
METAL_HOST_MATH_FORMS(METAL_HOST_MATH1, METAL_HOST_MATH2)

// fma rounds once in the elements' own type: exact for half too, as a product of halves fits float
// and double rounding cannot hit its sum with 24 bits to spare.
template <typename A, typename B, typename C, host::only_float<A> = 0>
inline host::common3_t<A, B, C> fma(const A& a, const B& b, const C& c) {
  using R = host::common3_t<A, B, C>;
  return host::mapper<R>::map([](float x, float y, float z) { return __builtin_fmaf(x, y, z); },
                              static_cast<R>(a), static_cast<R>(b), static_cast<R>(c));
}

// NaN: as fmax and fmin. Integers as they are.
#define METAL_HOST_SELECT2(name, float_function, op)                                             \
  namespace host {                                                                               \
  template <typename T, enable_if_t<is_floating_point<T>::value, int> = 0>                       \
  constexpr T name##1(T x, T y) {                                                                \
    return static_cast<T>(float_function(static_cast<float>(x), static_cast<float>(y)));         \
  }                                                                                              \
  template <typename T, enable_if_t<!is_floating_point<T>::value, int> = 0>                      \
  constexpr T name##1(T x, T y) {                                                                \
    return x op y ? x : y;                                                                       \
  }                                                                                              \
  }                                                                                              \
  template <typename A, typename B>                                                              \
  constexpr host::common_t<A, B> name(const A& a, const B& b) {                                  \
    using R = host::common_t<A, B>;                                                              \
    using T = host::element_t<R>;                                                                \
    return host::mapper<R>::map([](T x, T y) { return host::name##1(x, y); }, static_cast<R>(a), \
                                static_cast<R>(b));                                              \
  }
METAL_HOST_SELECT2(max, __builtin_fmaxf, >)
METAL_HOST_SELECT2(min, __builtin_fminf, <)

template <typename A>
constexpr host::plain_t<A> abs(const A& a) {
  using R = host::plain_t<A>;
  using T = host::element_t<A>;
  return host::mapper<R>::map(
      [](T x) { return x < T(0)    ? static_cast<T>(-x)
                       : x == T(0) ? T(0)
                                   : x; }, static_cast<R>(a));
}
template <typename A, typename B, typename C>
constexpr host::common3_t<A, B, C> clamp(const A& x, const B& low, const C& high) {
  return min(max(x, low), high);
}
template <typename A, typename B, typename C, host::only_float<A> = 0>
inline host::common3_t<A, B, C> mix(const A& x, const B& y, const C& t) {
  using R = host::common3_t<A, B, C>;
  return static_cast<R>(x) + (static_cast<R>(y) - static_cast<R>(x)) * static_cast<R>(t);
}
template <typename A, host::only_float<A> = 0>
inline host::plain_t<A> saturate(const A& x) {
  using T = host::element_t<A>;
  return clamp(x, T(0), T(1));
}
template <typename A, typename B, host::only_float<A> = 0>
inline host::common_t<A, B> step(const A& edge, const B& x) {
  using R = host::common_t<A, B>;
  return host::mapper<R>::map([](float e, float v) { return v < e ? 0.0f : 1.0f; },
                              static_cast<R>(edge), static_cast<R>(x));
}

namespace precise {
METAL_HOST_MATH_FORMS(METAL_HOST_MATH1, METAL_HOST_MATH2)
using metal::abs;
using metal::clamp;
using metal::fma;
using metal::max;
using metal::min;
}  // namespace precise
namespace fast {
METAL_HOST_MATH_FORMS(METAL_HOST_MATH1, METAL_HOST_MATH2)
using metal::abs;
using metal::clamp;
using metal::fma;
using metal::max;
using metal::min;
}  // namespace fast

#define METAL_HOST_TEST1(name, function)                                                          \
  template <typename A, host::only_float<A> = 0>                                                  \
  inline host::rebind_t<A, bool> name(const A& a) {                                               \
    return host::mapper<host::rebind_t<A, bool>>::map([](float x) { return (function(x)) != 0; }, \
                                                      static_cast<host::plain_t<A>>(a));          \
  }
METAL_HOST_TEST1(isnan, __builtin_isnan)
METAL_HOST_TEST1(isinf, __builtin_isinf)
METAL_HOST_TEST1(isfinite, __builtin_isfinite)
METAL_HOST_TEST1(signbit, __builtin_signbit)

// c ? b : a, component by component.
template <typename T>
constexpr T select(T a, T b, bool c) {
  return c ? b : a;
}
template <typename T, int N>
constexpr vec<T, N> select(const vec<T, N>& a, const vec<T, N>& b, const vec<bool, N>& c) {
  return host::mapper<vec<T, N>>::map([](T x, T y, bool z) { return z ? y : x; }, a, b, c);
}
constexpr bool any(bool a) { return a; }
constexpr bool all(bool a) { return a; }
template <int N>
constexpr bool any(const vec<bool, N>& a) {
  bool r = false;
  for (int i = 0; i < N; ++i) r = r || a.data[i];
  return r;
}
template <int N>
constexpr bool all(const vec<bool, N>& a) {
  bool r = true;
  for (int i = 0; i < N; ++i) r = r && a.data[i];
  return r;
}

// Geometry: sums of products in the elements' own type, first component first.
template <typename A, typename B>
constexpr host::element_t<host::common_t<A, B>> dot(const A& a, const B& b) {
  using R = host::common_t<A, B>;
  const R product = static_cast<R>(a) * static_cast<R>(b);
  auto sum = product.data[0];
  for (unsigned i = 1; i < sizeof(product.data) / sizeof(product.data[0]); ++i)
    sum = static_cast<decltype(sum)>(sum + product.data[i]);
  return sum;
}
template <typename A, host::only_float<A> = 0>
inline host::element_t<A> length_squared(const A& a) {
  return dot(a, a);
}
template <typename A, host::only_float<A> = 0>
inline host::element_t<A> length(const A& a) {
  return sqrt(dot(a, a));
}
template <typename A, host::only_float<A> = 0>
inline host::plain_t<A> normalize(const A& a) {
  return a * rsqrt(dot(a, a));
}

#define METAL_HOST_INTEGER1(name, expression)                                                  \
  template <typename A, enable_if_t<is_integral<host::element_t<A>>::value, int> = 0>          \
  constexpr host::plain_t<A> name(const A& a) {                                                \
    using T = host::element_t<A>;                                                              \
    return host::mapper<host::plain_t<A>>::map([](T x) { return static_cast<T>(expression); }, \
                                               static_cast<host::plain_t<A>>(a));              \
  }
METAL_HOST_INTEGER1(popcount, __builtin_popcountg(static_cast<__make_unsigned(T)>(x)))
METAL_HOST_INTEGER1(clz, __builtin_clzg(static_cast<__make_unsigned(T)>(x), int(8 * sizeof(T))))
METAL_HOST_INTEGER1(ctz, __builtin_ctzg(static_cast<__make_unsigned(T)>(x), int(8 * sizeof(T))))
constexpr uint reverse_bits(uint x) { return __builtin_bitreverse32(x); }
constexpr int mulhi(int a, int b) { return static_cast<int>((long{a} * b) >> 32); }
constexpr uint mulhi(uint a, uint b) { return static_cast<uint>((ulong{a} * b) >> 32); }
constexpr uint extract_bits(uint x, uint offset, uint bits) {
  return bits == 0 ? 0 : (x >> offset) & (0xFFFFFFFFu >> (32 - bits));
}
constexpr int extract_bits(int x, uint offset, uint bits) {
  return bits == 0 ? 0
                   : static_cast<int>(static_cast<uint>(x) << (32 - offset - bits)) >> (32 - bits);
}
constexpr uint rotate(uint x, uint by) { return __builtin_rotateleft32(x, by); }

inline float4 unpack_unorm4x8_to_float(uint x) {
  return float4(x & 255, x >> 8 & 255, x >> 16 & 255, x >> 24) / 255.0f;
}

}  // namespace metal

#endif  // DECANT_TESTING_METAL_HOST_SHIM_MATH_H_
