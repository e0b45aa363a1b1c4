#ifndef DECANT_OPS_ADVANCE_REFERENCE_H_
#define DECANT_OPS_ADVANCE_REFERENCE_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace decant::reference {

// A ring filled token by token: how many slots are live, and the slot of the oldest.
inline std::pair<uint32_t, uint32_t> ring_after(uint32_t tokens, uint32_t kv_capacity) {
  std::vector<int64_t> slots(kv_capacity, -1);
  for (uint32_t t = 0; t < tokens; ++t) slots[t % kv_capacity] = t;
  uint32_t live = 0, oldest = 0;
  for (uint32_t s = 0; s < kv_capacity; ++s) {
    live += slots[s] >= 0;
    if (slots[s] >= 0 && slots[s] < slots[oldest]) oldest = s;
  }
  return {live, oldest};
}

}  // namespace decant::reference

#endif  // DECANT_OPS_ADVANCE_REFERENCE_H_
