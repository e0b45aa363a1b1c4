#ifndef DECANT_OPS_CAST_REFERENCE_H_
#define DECANT_OPS_CAST_REFERENCE_H_

#include <algorithm>
#include <cmath>

namespace decant::reference {

// The value of a binary floating-point format nearest to x, ties to even, in double: `mantissa`
// stored bits, exponents down to `min_exponent` (of the smallest normal), infinity from
// 2^(max_exponent + 1) on.
struct FloatFormat {
  int mantissa, min_exponent, max_exponent;
};
inline constexpr FloatFormat kFormatF32{23, -126, 127}, kFormatF16{10, -14, 15},
    kFormatBF16{7, -126, 127};

inline double round_to(double x, FloatFormat format) {
  if (!std::isfinite(x) || x == 0) return x;
  // One unit in the last place, that of denormals at least; nearbyint rounds ties to even.
  const int exponent = std::max(std::ilogb(x), format.min_exponent);
  const double unit = std::ldexp(1.0, exponent - format.mantissa);
  const double rounded = std::nearbyint(x / unit) * unit;
  return std::abs(rounded) >= std::ldexp(1.0, format.max_exponent + 1) ? std::copysign(HUGE_VAL, x)
                                                                       : rounded;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_CAST_REFERENCE_H_
