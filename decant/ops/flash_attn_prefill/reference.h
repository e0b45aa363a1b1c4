#ifndef DECANT_OPS_FLASH_ATTN_PREFILL_REFERENCE_H_
#define DECANT_OPS_FLASH_ATTN_PREFILL_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "decant/kernels/attention.h"
#include "decant/kernels/float16.h"

namespace decant::reference {

struct PrefillInput {
  uint32_t n, num_heads, num_kv_heads, head_dim;
  std::span<const float> q;         // [n, num_heads, head_dim]
  std::span<const uint16_t> k_new;  // [n, num_kv_heads, head_dim], f16
  std::span<const uint16_t> v_new;
  std::span<const uint16_t> k_cache{};  // [num_kv_heads, kv_capacity, head_dim], f16
  std::span<const uint16_t> v_cache{};
  uint32_t kv_seq_len = 0, kv_capacity = 0, ring_start = 0;
  float scale = 1;
  AttnMask mask = AttnMask::kCausal;
  uint32_t sliding_window = 0;
};

struct PrefillOutput {
  std::vector<double> out;   // [n, num_heads, head_dim]
  std::vector<double> unit;  // [n, num_heads]: ||sum_j softmax(score)(j) |v(j)| ||_2
};

inline PrefillOutput flash_attn_prefill(const PrefillInput& in) {
  const size_t dim = in.head_dim;
  PrefillOutput result{std::vector<double>(size_t{in.n} * in.num_heads * dim),
                       std::vector<double>(size_t{in.n} * in.num_heads)};
  const auto row = [&](std::span<const uint16_t> cache, std::span<const uint16_t> fresh,
                       uint32_t key, uint32_t kv_head) {
    if (key >= in.kv_seq_len)
      return fresh.subspan((size_t{key - in.kv_seq_len} * in.num_kv_heads + kv_head) * dim, dim);
    const uint32_t slot = (key + in.ring_start) % in.kv_capacity;
    return cache.subspan((size_t{kv_head} * in.kv_capacity + slot) * dim, dim);
  };
  for (uint32_t i = 0; i < in.n; ++i) {
    const uint32_t last = in.kv_seq_len + i;  // the query's own key
    const bool windowed = in.mask == AttnMask::kSlidingWindow && last + 1 > in.sliding_window;
    const uint32_t first = windowed ? last + 1 - in.sliding_window : 0;
    for (uint32_t h = 0; h < in.num_heads; ++h) {
      const uint32_t kv_head = h / (in.num_heads / in.num_kv_heads);
      const std::span<const float> q = in.q.subspan((size_t{i} * in.num_heads + h) * dim, dim);
      std::vector<double> p(last + 1 - first);
      for (uint32_t j = first; j <= last; ++j) {
        const std::span<const uint16_t> k = row(in.k_cache, in.k_new, j, kv_head);
        double dot = 0;
        for (size_t d = 0; d < dim; ++d) dot += double{q[d]} * f32_from_f16(k[d]);
        p[j - first] = in.scale * dot;
      }
      const double max = *std::max_element(p.begin(), p.end());
      double sum = 0;
      for (double& score : p) sum += score = std::exp(score - max);
      std::vector<double> magnitude(dim);
      double* out = &result.out[(size_t{i} * in.num_heads + h) * dim];
      for (uint32_t j = first; j <= last; ++j) {
        const std::span<const uint16_t> v = row(in.v_cache, in.v_new, j, kv_head);
        for (size_t d = 0; d < dim; ++d) {
          out[d] += p[j - first] / sum * f32_from_f16(v[d]);
          magnitude[d] += p[j - first] / sum * std::abs(f32_from_f16(v[d]));
        }
      }
      double norm = 0;
      for (const double m : magnitude) norm += m * m;
      result.unit[size_t{i} * in.num_heads + h] = std::sqrt(norm);
    }
  }
  return result;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_FLASH_ATTN_PREFILL_REFERENCE_H_
