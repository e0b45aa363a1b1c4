#ifndef DECANT_OPS_GELU_MUL_REFERENCE_H_
#define DECANT_OPS_GELU_MUL_REFERENCE_H_

#include <cmath>
#include <numbers>
#include <span>
#include <vector>

namespace decant::reference {

inline std::vector<double> gelu_mul(std::span<const float> gate, std::span<const float> up) {
  std::vector<double> out(gate.size());
  for (size_t i = 0; i < out.size(); ++i) {
    const double x = gate[i];
    const double u = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    out[i] = 0.5 * x * (1 + std::tanh(u)) * up[i];
  }
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_GELU_MUL_REFERENCE_H_
