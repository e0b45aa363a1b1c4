// What every CUDA source of the library is compiled behind, in place of the standard headers that
// its own host headers include: a run-time compiler has none. Kernels need not include it.
#ifndef DECANT_CUDA_PRELUDE_CUH_
#define DECANT_CUDA_PRELUDE_CUH_

using int8_t = signed char;
using uint8_t = unsigned char;
using int16_t = short;
using uint16_t = unsigned short;
using int32_t = int;
using uint32_t = unsigned int;
using int64_t = long long;
using uint64_t = unsigned long long;
using uintptr_t = unsigned long long;

#define INT32_MIN (-2147483647 - 1)
#define INT32_MAX 2147483647
#define UINT32_MAX 4294967295u
#define UINT64_MAX 18446744073709551615ull
#define INFINITY __int_as_float(0x7F800000)
#define NAN __int_as_float(0x7FFFFFFF)
#define offsetof(type, member) __INTADDR__(&static_cast<type*>(nullptr)->member)

namespace std {
using ::size_t;
template <typename T>
constexpr const T& min(const T& a, const T& b) {
  return b < a ? b : a;
}
template <typename T>
constexpr const T& max(const T& a, const T& b) {
  return a < b ? b : a;
}
template <typename T>
constexpr const T& clamp(const T& x, const T& low, const T& high) {
  return x < low ? low : high < x ? high : x;
}
template <typename To, typename From>
constexpr To bit_cast(const From& from) {
  return __builtin_bit_cast(To, from);
}
inline void memcpy(void* to, const void* from, size_t bytes) { ::memcpy(to, from, bytes); }
template <typename T>
struct numeric_limits;
template <>
struct numeric_limits<float> {
  static constexpr float infinity() { return bit_cast<float>(0x7F800000u); }
  static constexpr float quiet_NaN() { return bit_cast<float>(0x7FC00000u); }
};
}  // namespace std

#endif  // DECANT_CUDA_PRELUDE_CUH_
