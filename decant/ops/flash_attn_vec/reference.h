// The definition of flash_attn_vec in double precision: slow, plain, and the oracle of every test.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_REFERENCE_H_
#define DECANT_OPS_FLASH_ATTN_VEC_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "decant/kernels/attention.h"
#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant::reference {

struct Attention {
  std::vector<double> out;    // [num_heads, head_dim]
  std::vector<double> scale;  // [num_heads]: ||sum softmax |v| ||, the unit of the relative error
  std::vector<double> lse;  // [num_heads]: log of the softmax denominator, -inf if nothing attended
};

inline Attention flash_attn_vec(const FlashAttnVecParams& p, std::span<const float> q,
                                std::span<const uint16_t> k, std::span<const uint16_t> v) {
  const uint32_t D = p.head_dim;
  Attention result{std::vector<double>(size_t{p.num_heads} * D), {}, {}};
  const uint32_t first =
      window_start(static_cast<AttnMask>(p.mask_type), p.sliding_window, p.kv_seq_len);
  for (uint32_t h = 0; h < p.num_heads; ++h) {
    const size_t cache = size_t{h / (p.num_heads / p.num_kv_heads)} * p.kv_capacity * D;
    std::vector<uint32_t> slots;
    for (uint32_t slot = 0; slot < p.kv_seq_len; ++slot)
      if (const uint32_t age = logical_of_slot(slot, p.ring_start, p.kv_capacity);
          first <= age && age < p.kv_seq_len)
        slots.push_back(slot);

    std::vector<double> score;
    double max = -HUGE_VAL, sum = 0;
    for (const uint32_t slot : slots) {
      double dot = 0;
      for (uint32_t i = 0; i < D; ++i)
        dot += double{q[size_t{h} * D + i]} * f32_from_f16(k[cache + size_t{slot} * D + i]);
      score.push_back(p.scale * dot);
      max = std::max(max, score.back());
    }
    std::vector<double> magnitude(D);
    for (double& s : score) sum += s = std::exp(s - max);
    for (size_t j = 0; j < slots.size(); ++j)
      for (uint32_t i = 0; i < D; ++i) {
        const double value = f32_from_f16(v[cache + size_t{slots[j]} * D + i]);
        result.out[size_t{h} * D + i] += score[j] / sum * value;
        magnitude[i] += score[j] / sum * std::abs(value);
      }
    double norm = 0;
    for (const double m : magnitude) norm += m * m;
    result.scale.push_back(std::sqrt(norm));
    result.lse.push_back(slots.empty() ? -HUGE_VAL : max + std::log(sum));
  }
  return result;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_FLASH_ATTN_VEC_REFERENCE_H_
