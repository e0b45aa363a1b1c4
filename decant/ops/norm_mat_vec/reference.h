// The definition of norm_mat_vec in double precision.
#ifndef DECANT_OPS_NORM_MAT_VEC_REFERENCE_H_
#define DECANT_OPS_NORM_MAT_VEC_REFERENCE_H_

#include <cmath>
#include <numbers>
#include <span>
#include <vector>

namespace decant::reference {

struct NormMatVec {
  std::vector<double> x;                  // x'
  std::vector<double> h;                  // what the weights multiply
  std::vector<std::vector<double>> outs;  // of each weight, or the one of kGeluMul
};

// delta: empty if there is none; weights: decoded, [rows_i, cols] each.
inline NormMatVec norm_mat_vec(std::span<const float> x, std::span<const float> delta,
                               std::span<const float> delta_weight,
                               std::span<const float> norm_weight, double eps,
                               std::span<const std::vector<float>> weights, bool gelu_mul) {
  const size_t cols = x.size();
  const auto inverse_rms = [&](const auto& v) {
    double sum = 0;
    for (const double e : v) sum += e * e;
    return 1 / std::sqrt(sum / static_cast<double>(cols) + eps);
  };
  NormMatVec result{{x.begin(), x.end()}, {}, {}};
  if (!delta.empty()) {
    const double inverse = inverse_rms(delta);
    for (size_t i = 0; i < cols; ++i) result.x[i] += delta[i] * inverse * delta_weight[i];
  }
  const double inverse = inverse_rms(result.x);
  for (size_t i = 0; i < cols; ++i) result.h.push_back(result.x[i] * inverse * norm_weight[i]);

  for (const std::vector<float>& weight : weights) {
    std::vector<double>& out = result.outs.emplace_back();
    for (size_t row = 0; row < weight.size(); row += cols) {
      double sum = 0;
      for (size_t i = 0; i < cols; ++i) sum += weight[row + i] * result.h[i];
      out.push_back(sum);
    }
  }
  if (gelu_mul) {
    for (size_t r = 0; r < result.outs[0].size(); ++r) {
      const double v = result.outs[0][r];
      const double u = std::sqrt(2 / std::numbers::pi) * (v + 0.044715 * v * v * v);
      result.outs[0][r] = 0.5 * v * (1 + std::tanh(u)) * result.outs[1][r];
    }
    result.outs.resize(1);
  }
  return result;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_NORM_MAT_VEC_REFERENCE_H_
