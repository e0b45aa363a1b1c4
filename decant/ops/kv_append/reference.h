#ifndef DECANT_OPS_KV_APPEND_REFERENCE_H_
#define DECANT_OPS_KV_APPEND_REFERENCE_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace decant::reference {

// Appends rows [n, heads, head_dim], f16 bits, to cache [heads, capacity, head_dim], one token
// after the other. Tokens beyond a linear cache are dropped.
inline void kv_append(std::span<const uint16_t> tokens, std::span<uint16_t> cache, size_t heads,
                      size_t capacity, size_t head_dim, uint64_t position, bool ring) {
  for (size_t t = 0; t < tokens.size() / (heads * head_dim); ++t) {
    if (!ring && position + t >= capacity) return;
    const size_t slot = (position + t) % capacity;
    for (size_t h = 0; h < heads; ++h)
      for (size_t i = 0; i < head_dim; ++i)
        cache[(h * capacity + slot) * head_dim + i] = tokens[(t * heads + h) * head_dim + i];
  }
}

}  // namespace decant::reference

#endif  // DECANT_OPS_KV_APPEND_REFERENCE_H_
