#ifndef DECANT_OPS_ROPE_TABLE_REFERENCE_H_
#define DECANT_OPS_ROPE_TABLE_REFERENCE_H_

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace decant::reference {

// [tokens, 2, pairs]. long double, because an angle of 10^5 radians leaves a double 11 digits.
inline std::vector<double> rope_table(size_t tokens, size_t pairs, double base,
                                      double position_scale, uint32_t position) {
  std::vector<double> out(tokens * 2 * pairs);
  for (size_t t = 0; t < tokens; ++t)
    for (size_t i = 0; i < pairs; ++i) {
      const long double exponent = static_cast<long double>(i) / static_cast<long double>(pairs);
      const long double angle = (static_cast<long double>(position) + static_cast<long double>(t)) *
                                position_scale / std::pow(static_cast<long double>(base), exponent);
      out[(t * 2 + 0) * pairs + i] = static_cast<double>(std::cos(angle));
      out[(t * 2 + 1) * pairs + i] = static_cast<double>(std::sin(angle));
    }
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_ROPE_TABLE_REFERENCE_H_
