#ifndef DECANT_OPS_RMS_NORM_REFERENCE_H_
#define DECANT_OPS_RMS_NORM_REFERENCE_H_

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace decant::reference {

// Rows of `row_elems`; an empty weight is all ones.
inline std::vector<double> rms_norm(std::span<const double> x, std::span<const float> weight,
                                    size_t row_elems, double eps) {
  std::vector<double> out(x.size());
  for (size_t row = 0; row < x.size(); row += row_elems) {
    double sum = 0;
    for (size_t i = 0; i < row_elems; ++i) sum += x[row + i] * x[row + i];
    const double rms = std::sqrt(sum / static_cast<double>(row_elems) + eps);
    for (size_t i = 0; i < row_elems; ++i)
      out[row + i] = x[row + i] / rms * (weight.empty() ? 1.0 : double{weight[i]});
  }
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_RMS_NORM_REFERENCE_H_
