#ifndef DECANT_OPS_SOFTCAP_REFERENCE_H_
#define DECANT_OPS_SOFTCAP_REFERENCE_H_

#include <cmath>
#include <span>
#include <vector>

namespace decant::reference {

inline std::vector<double> softcap(std::span<const float> x, double cap) {
  std::vector<double> out;
  for (const double v : x) out.push_back(cap * std::tanh(v / cap));
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_SOFTCAP_REFERENCE_H_
