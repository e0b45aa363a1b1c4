// The definition of attention_step: the new token's slot, its key and value in it, then attention
// in double precision over what the cache holds.
#ifndef DECANT_OPS_ATTENTION_STEP_REFERENCE_H_
#define DECANT_OPS_ATTENTION_STEP_REFERENCE_H_

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "decant/kernels/attention.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant::reference {

struct AttentionStep {
  uint32_t slot;
  std::vector<double> k;      // [num_kv_heads, head_dim]: k', not rounded to f16
  std::vector<double> out;    // [num_heads, head_dim]
  std::vector<double> scale;  // [num_heads]: ||sum softmax |v| ||, the unit of the relative error
};

// norm(x) * weight, then the rotation of the halves; rope: cosines, then sines.
inline std::vector<double> norm_rope(std::span<const float> x, std::span<const float> weight,
                                     std::span<const float> rope, double eps) {
  const size_t D = weight.size(), half = D / 2;
  std::vector<double> out(x.size()), y(D);
  for (size_t head = 0; head < x.size(); head += D) {
    double sum = 0;
    for (size_t i = 0; i < D; ++i) sum += double{x[head + i]} * x[head + i];
    const double rms = std::sqrt(sum / static_cast<double>(D) + eps);
    for (size_t i = 0; i < D; ++i) y[i] = x[head + i] / rms * weight[i];
    for (size_t i = 0; i < half; ++i) {
      out[head + i] = y[i] * rope[i] - y[i + half] * rope[half + i];
      out[head + half + i] = y[i + half] * rope[i] + y[i] * rope[half + i];
    }
  }
  return out;
}

// k_cache, v_cache [num_kv_heads, kv_capacity, head_dim] as the caches hold them, f16 as double;
// the new slot is overwritten here. `round` rounds to f16.
template <class Round>
AttentionStep attention_step(const FlashAttnVecParams& p, std::span<const float> q,
                             std::span<const float> k, std::span<const float> v,
                             std::span<const float> q_norm, std::span<const float> k_norm,
                             std::span<const float> rope, double eps, std::vector<double>& k_cache,
                             std::vector<double>& v_cache, const Round& round) {
  const uint32_t D = p.head_dim, group = p.num_heads / p.num_kv_heads;
  AttentionStep result{};
  result.slot = p.kv_seq_len < p.kv_capacity ? p.kv_seq_len - 1
                                             : (p.ring_start + p.kv_capacity - 1) % p.kv_capacity;
  result.k = norm_rope(k, k_norm, rope, eps);
  const std::vector<double> roped = norm_rope(q, q_norm, rope, eps);
  const auto at = [&](uint32_t kv_head, uint32_t slot) {
    return (size_t{kv_head} * p.kv_capacity + slot) * D;
  };
  for (uint32_t g = 0; g < p.num_kv_heads; ++g)
    for (uint32_t i = 0; i < D; ++i) {
      k_cache[at(g, result.slot) + i] = round(result.k[size_t{g} * D + i]);
      v_cache[at(g, result.slot) + i] = round(double{v[size_t{g} * D + i]});
    }

  const uint32_t first =
      window_start(static_cast<AttnMask>(p.mask_type), p.sliding_window, p.kv_seq_len);
  for (uint32_t h = 0; h < p.num_heads; ++h) {
    std::vector<double> weights, slots;
    std::vector<uint32_t> attended;
    double max = -HUGE_VAL, sum = 0;
    for (uint32_t age = first; age < p.kv_seq_len; ++age) {
      attended.push_back(slot_of_logical(age, p.ring_start, p.kv_capacity));
      double dot = 0;
      for (uint32_t i = 0; i < D; ++i)
        dot += roped[size_t{h} * D + i] * k_cache[at(h / group, attended.back()) + i];
      weights.push_back(p.scale * dot);
      max = std::max(max, weights.back());
    }
    for (double& w : weights) sum += w = std::exp(w - max);
    double norm = 0;
    for (uint32_t i = 0; i < D; ++i) {
      double out = 0, magnitude = 0;
      for (size_t j = 0; j < attended.size(); ++j) {
        const double value = v_cache[at(h / group, attended[j]) + i];
        out += weights[j] / sum * value;
        magnitude += weights[j] / sum * std::abs(value);
      }
      result.out.push_back(out);
      norm += magnitude * magnitude;
    }
    result.scale.push_back(std::sqrt(norm));
  }
  return result;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_ATTENTION_STEP_REFERENCE_H_
