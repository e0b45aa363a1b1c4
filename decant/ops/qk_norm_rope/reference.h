#ifndef DECANT_OPS_QK_NORM_ROPE_REFERENCE_H_
#define DECANT_OPS_QK_NORM_ROPE_REFERENCE_H_

#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

namespace decant::reference {

// x [n, num_heads, head_dim], rope [n, 2, head_dim / 2].
inline std::vector<double> qk_norm_rope(std::span<const float> x, std::span<const float> weight,
                                        std::span<const float> rope, size_t num_heads, double eps) {
  const size_t head_dim = weight.size(), half = head_dim / 2;
  std::vector<double> out(x.size()), y(head_dim);
  for (size_t row = 0; row < x.size() / head_dim; ++row) {
    const float* head = x.data() + row * head_dim;
    double sum = 0;
    for (size_t i = 0; i < head_dim; ++i) sum += double{head[i]} * head[i];
    const double rms = std::sqrt(sum / static_cast<double>(head_dim) + eps);
    for (size_t i = 0; i < head_dim; ++i) y[i] = head[i] / rms * weight[i];

    const float* cos = rope.data() + row / num_heads * head_dim;
    const float* sin = cos + half;
    for (size_t i = 0; i < half; ++i) {
      out[row * head_dim + i] = y[i] * cos[i] - y[i + half] * sin[i];
      out[row * head_dim + i + half] = y[i + half] * cos[i] + y[i] * sin[i];
    }
  }
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_QK_NORM_ROPE_REFERENCE_H_
