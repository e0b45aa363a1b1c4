#ifndef DECANT_OPS_TOP_K_REFERENCE_H_
#define DECANT_OPS_TOP_K_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

namespace decant::reference {

// The ids; a stable sort keeps equal elements in the order of their indices.
inline std::vector<int32_t> top_k(std::span<const float> x, size_t k) {
  std::vector<int32_t> ids(x.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) {
    const float xa = x[static_cast<size_t>(a)], xb = x[static_cast<size_t>(b)];
    if (std::isnan(xa) || std::isnan(xb)) return !std::isnan(xa) && std::isnan(xb);
    return xa > xb;
  });
  ids.resize(k);
  return ids;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_TOP_K_REFERENCE_H_
