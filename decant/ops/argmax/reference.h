#ifndef DECANT_OPS_ARGMAX_REFERENCE_H_
#define DECANT_OPS_ARGMAX_REFERENCE_H_

#include <cmath>
#include <cstdint>
#include <span>

namespace decant::reference {

inline int32_t argmax(std::span<const float> row) {
  size_t best = 0;
  for (size_t i = 1; i < row.size(); ++i)
    if (row[i] > row[best] || (std::isnan(row[best]) && !std::isnan(row[i]))) best = i;
  return static_cast<int32_t>(best);
}

}  // namespace decant::reference

#endif  // DECANT_OPS_ARGMAX_REFERENCE_H_
