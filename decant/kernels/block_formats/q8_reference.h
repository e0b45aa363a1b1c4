// The plain definition of the rounding that q8_row.h describes, for references in double precision.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_Q8_REFERENCE_H_
#define DECANT_KERNELS_BLOCK_FORMATS_Q8_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "decant/kernels/block_formats/q8_row.h"

namespace decant::reference {

// x, a whole number of groups of 32, as the integer products see it.
inline std::vector<double> rounded_q8(std::span<const float> x) {
  std::vector<double> rounded;
  for (; !x.empty(); x = x.subspan(kQ8Elems)) {
    const std::span<const float> group = x.first(kQ8Elems);
    float largest = 0;
    bool finite = true;
    for (const float v : group) {
      largest = std::max(largest, std::abs(v));
      finite = finite && std::isfinite(v);
    }
    for (const float v : group) {
      if (!finite) {
        rounded.push_back(std::numeric_limits<double>::quiet_NaN());
      } else if (largest < kQ8Smallest) {
        rounded.push_back(0);
      } else {
        const float inverse = 127 / largest, scale = largest / 127;
        rounded.push_back(double{scale} * std::nearbyint(v * inverse));
      }
    }
  }
  return rounded;
}

// The same with what that leaves over, itself rounded to f32, rounded in the same way.
inline std::vector<double> rounded_q16(std::span<const float> x) {
  std::vector<double> rounded = rounded_q8(x);
  std::vector<float> left(x.size());
  for (size_t i = 0; i < x.size(); ++i) left[i] = static_cast<float>(x[i] - rounded[i]);
  const std::vector<double> rest = rounded_q8(left);
  for (size_t i = 0; i < x.size(); ++i) rounded[i] += rest[i];
  return rounded;
}

}  // namespace decant::reference

#endif  // DECANT_KERNELS_BLOCK_FORMATS_Q8_REFERENCE_H_
