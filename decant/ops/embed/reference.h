#ifndef DECANT_OPS_EMBED_REFERENCE_H_
#define DECANT_OPS_EMBED_REFERENCE_H_

#include <cmath>
#include <span>
#include <vector>

namespace decant::reference {

// table: vocab rows of `hidden` weights, decoded.
inline std::vector<double> embed(std::span<const float> table, std::span<const int32_t> ids,
                                 size_t hidden, double scale) {
  std::vector<double> out;
  for (const int32_t id : ids) {
    const bool inside = id >= 0 && static_cast<size_t>(id) < table.size() / hidden;
    for (size_t i = 0; i < hidden; ++i)
      out.push_back(inside ? scale * table[static_cast<size_t>(id) * hidden + i] : std::nan(""));
  }
  return out;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_EMBED_REFERENCE_H_
