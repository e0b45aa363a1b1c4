// Scalars, traits, limits and as_type: what the rest of the shim stands on.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_TYPES_H_
#define DECANT_TESTING_METAL_HOST_SHIM_TYPES_H_

#include "abi.h"

using uchar = unsigned char;
using ushort = unsigned short;
using uint = unsigned int;
using ulong = unsigned long;
using half = _Float16;
using bfloat = __bf16;
using size_t = decltype(sizeof(0));
using ptrdiff_t = decltype(static_cast<char*>(nullptr) - static_cast<char*>(nullptr));
using int8_t = signed char;
using uint8_t = uchar;
using int16_t = short;
using uint16_t = ushort;
using int32_t = int;
using uint32_t = uint;
using int64_t = long;
using uint64_t = ulong;

#define FLT_MAX 3.402823466e+38f
#define FLT_MIN 1.175494351e-38f
#define FLT_EPSILON 1.192092896e-07f
#define HALF_MAX 65504.0f16
#define HALF_MIN 6.103515625e-05f16
#define INT_MAX 2147483647
#define INT_MIN (-2147483647 - 1)
#define UINT_MAX 4294967295u
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define MAXFLOAT FLT_MAX
#define M_PI_F 3.14159265358979323846f
#define M_PI_2_F 1.57079632679489661923f
#define M_1_PI_F 0.31830988618379067154f
#define M_2_SQRTPI_F 1.12837916709551257390f
#define M_SQRT2_F 1.41421356237309504880f
#define M_SQRT1_2_F 0.70710678118654752440f
#define M_E_F 2.71828182845904523536f
#define M_LOG2E_F 1.44269504088896340736f
#define M_LN2_F 0.69314718055994530942f

namespace metal {

using ::bfloat;
using ::half;
using ::ptrdiff_t;
using ::size_t;
using ::uchar;
using ::uint;
using ::ulong;
using ::ushort;

template <bool B, typename T = void>
struct enable_if {};
template <typename T>
struct enable_if<true, T> {
  using type = T;
};
template <bool B, typename T = void>
using enable_if_t = typename enable_if<B, T>::type;
template <bool B, typename T, typename F>
struct conditional {
  using type = T;
};
template <typename T, typename F>
struct conditional<false, T, F> {
  using type = F;
};
template <bool B, typename T, typename F>
using conditional_t = typename conditional<B, T, F>::type;

template <typename T, T V>
struct integral_constant {
  static constexpr T value = V;
  constexpr operator T() const { return V; }
};
using true_type = integral_constant<bool, true>;
using false_type = integral_constant<bool, false>;
template <typename A, typename B>
struct is_same : false_type {};
template <typename A>
struct is_same<A, A> : true_type {};
template <typename A, typename B>
constexpr bool is_same_v = is_same<A, B>::value;
template <typename T>
struct remove_reference {
  using type = T;
};
template <typename T>
struct remove_reference<T&> {
  using type = T;
};
template <typename T>
struct remove_cv {
  using type = __remove_cv(T);
};
template <typename T>
using remove_cv_t = __remove_cv(T);
template <typename T>
using remove_reference_t = typename remove_reference<T>::type;
template <typename T>
using decay_t = remove_cv_t<remove_reference_t<T>>;

template <typename T>
struct is_floating_point : integral_constant<bool, is_same<remove_cv_t<T>, float>::value ||
                                                       is_same<remove_cv_t<T>, half>::value ||
                                                       is_same<remove_cv_t<T>, bfloat>::value> {};
template <typename T>
struct is_integral : integral_constant<bool, __is_integral(T)> {};
template <typename T>
struct is_signed : integral_constant<bool, (is_floating_point<T>::value || __is_signed(T))> {};
template <typename T>
struct is_unsigned : integral_constant<bool, __is_unsigned(T)> {};
template <typename T>
struct is_scalar
    : integral_constant<bool, __is_integral(T) || __is_enum(T) || is_floating_point<T>::value> {};
template <typename T>
struct is_arithmetic : integral_constant<bool, __is_integral(T) || is_floating_point<T>::value> {};
template <typename T>
constexpr bool is_floating_point_v = is_floating_point<T>::value;
template <typename T>
constexpr bool is_integral_v = is_integral<T>::value;

template <typename T>
struct numeric_limits;
#define METAL_HOST_INTEGER_LIMITS(T, lowest_value, max_value)            \
  template <>                                                            \
  struct numeric_limits<T> {                                             \
    static constexpr bool is_signed = (lowest_value) != 0;               \
    static constexpr T min() { return static_cast<T>(lowest_value); }    \
    static constexpr T lowest() { return static_cast<T>(lowest_value); } \
    static constexpr T max() { return static_cast<T>(max_value); }       \
  };
METAL_HOST_INTEGER_LIMITS(char, -128, 127)
METAL_HOST_INTEGER_LIMITS(int8_t, -128, 127)
METAL_HOST_INTEGER_LIMITS(uchar, 0, 255)
METAL_HOST_INTEGER_LIMITS(short, -32768, 32767)
METAL_HOST_INTEGER_LIMITS(ushort, 0, 65535)
METAL_HOST_INTEGER_LIMITS(int, INT_MIN, INT_MAX)
METAL_HOST_INTEGER_LIMITS(uint, 0, UINT_MAX)
METAL_HOST_INTEGER_LIMITS(long, -9223372036854775807l - 1, 9223372036854775807l)
METAL_HOST_INTEGER_LIMITS(ulong, 0, 18446744073709551615ul)
#define METAL_HOST_FLOAT_LIMITS(T, min_value, max_value, epsilon_value)           \
  template <>                                                                     \
  struct numeric_limits<T> {                                                      \
    static constexpr bool is_signed = true;                                       \
    static constexpr T min() { return static_cast<T>(min_value); }                \
    static constexpr T lowest() { return static_cast<T>(-(max_value)); }          \
    static constexpr T max() { return static_cast<T>(max_value); }                \
    static constexpr T epsilon() { return static_cast<T>(epsilon_value); }        \
    static constexpr T infinity() { return static_cast<T>(__builtin_inff()); }    \
    static constexpr T quiet_NaN() { return static_cast<T>(__builtin_nanf("")); } \
  };
METAL_HOST_FLOAT_LIMITS(float, FLT_MIN, FLT_MAX, FLT_EPSILON)
METAL_HOST_FLOAT_LIMITS(half, HALF_MIN, HALF_MAX, 9.765625e-04f)
METAL_HOST_FLOAT_LIMITS(bfloat, FLT_MIN, 3.38953139e38f, 7.8125e-03f)

}  // namespace metal

// The same bits as another type of the same size.
template <typename To, typename From>
inline To as_type(const From& from) {
  static_assert(sizeof(To) == sizeof(From), "as_type: sizes differ");
  To to;
  __builtin_memcpy(static_cast<void*>(&to), &from, sizeof(To));
  return to;
}
namespace metal {
using ::as_type;
}

#endif  // DECANT_TESTING_METAL_HOST_SHIM_TYPES_H_
