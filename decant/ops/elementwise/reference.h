#ifndef DECANT_OPS_ELEMENTWISE_REFERENCE_H_
#define DECANT_OPS_ELEMENTWISE_REFERENCE_H_

#include <span>
#include <vector>

namespace decant::reference {

// b repeats.
inline std::vector<double> add(std::span<const float> a, std::span<const float> b) {
  std::vector<double> out(a.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = double{a[i]} + b[i % b.size()];
  return out;
}
inline std::vector<double> mul(std::span<const float> a, std::span<const float> b) {
  std::vector<double> out(a.size());
  for (size_t i = 0; i < out.size(); ++i) out[i] = double{a[i]} * b[i % b.size()];
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_ELEMENTWISE_REFERENCE_H_
