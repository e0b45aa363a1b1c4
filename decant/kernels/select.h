// One number that orders (value, index) pairs: what argmax, top_k and sample compare.
#ifndef DECANT_KERNELS_SELECT_H_
#define DECANT_KERNELS_SELECT_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "decant/kernels/device_code.h"

namespace decant {

#if !defined(__METAL_VERSION__)  // Metal: kernels/metal/select.h
// The greater key is the greater value and, of equal values, the lower index. -0 equals +0; a NaN
// is less than anything else. Unsigned integers compare fast and totally, so whatever is selected
// by keys is the same in any order of work. Key 0 stands for no pair (index 2^32-1 is not used).
inline uint64_t order_key(float value, uint32_t index) {
  uint32_t high = 0;
  if (value == value) {
    // IEEE 754 orders like sign and magnitude: the bits of negative values count backwards.
    const auto bits = std::bit_cast<uint32_t>(value + 0.0f);
    high = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  return uint64_t{high} << 32 | (0xFFFFFFFFu - index);
}

inline uint32_t key_index(uint64_t key) { return 0xFFFFFFFFu - static_cast<uint32_t>(key); }
inline bool key_is_nan(uint64_t key) { return key >> 32 == 0; }
inline float key_value(uint64_t key) {
  const auto high = static_cast<uint32_t>(key >> 32);
  if (high == 0) return std::numeric_limits<float>::quiet_NaN();
  return std::bit_cast<float>(high & 0x80000000u ? high & 0x7FFFFFFFu : ~high);
}
#endif

// A long row is cut into chunks, by its length alone; one group selects from one chunk. 64 KiB stay
// in the second-level cache for a second look, and 262,144 logits make 16 groups.
DECANT_CONSTANT uint32_t kSelectChunk = 16384;
constexpr uint32_t select_chunks(uint32_t n) { return (n - 1) / kSelectChunk + 1; }

}  // namespace decant

#endif  // DECANT_KERNELS_SELECT_H_
