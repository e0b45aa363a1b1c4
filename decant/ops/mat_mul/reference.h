#ifndef DECANT_OPS_MAT_MUL_REFERENCE_H_
#define DECANT_OPS_MAT_MUL_REFERENCE_H_

#include <span>
#include <vector>

namespace decant::reference {

// weight: rows of `cols` decoded weights; x: rows of `cols` activations, which q8_reference.h
// rounds where the op does.
template <class X>
std::vector<double> mat_mul(std::span<const float> weight, std::span<const X> x, size_t cols) {
  std::vector<double> out;
  for (size_t t = 0; t < x.size(); t += cols)
    for (size_t r = 0; r < weight.size(); r += cols) {
      double sum = 0;
      for (size_t c = 0; c < cols; ++c) sum += double{x[t + c]} * weight[r + c];
      out.push_back(sum);
    }
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_MAT_MUL_REFERENCE_H_
