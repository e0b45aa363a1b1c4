// One attention_step call's tensors between poisoned guards, for the tests of the op.
#ifndef DECANT_OPS_ATTENTION_STEP_TEST_PROBLEM_H_
#define DECANT_OPS_ATTENTION_STEP_TEST_PROBLEM_H_

#include <cmath>
#include <vector>

#include "decant/core/device.h"
#include "decant/kernels/float16.h"
#include "decant/ops/attention_step/attention_step.h"
#include "decant/ops/attention_step/cases.h"
#include "testing/compare.h"
#include "testing/guarded.h"

namespace decant::testing {

inline constexpr float kStepEps = 1e-6f;

inline std::string describe(const AttentionStepCase& c) {
  return fmt::format("D {} heads {}/{} kv {} of {} ring_start {} mask {} window {}", c.head_dim,
                     c.num_heads, c.num_kv_heads, c.kv_seq_len, c.kv_capacity, c.ring_start,
                     static_cast<uint32_t>(c.mask), c.sliding_window);
}

// Slots that are not attended hold NaN, and so does the new token's, before the call.
struct AttentionStepProblem {
  AttentionStepProblem(const Device& device, const AttentionStepCase& which, uint64_t seed)
      : c(which),
        q(device, DType::kF32, {c.num_heads, c.head_dim}),
        k(device, DType::kF32, {c.num_kv_heads, c.head_dim}),
        v(device, DType::kF32, {c.num_kv_heads, c.head_dim}),
        q_norm(device, DType::kF32, {c.head_dim}),
        k_norm(device, DType::kF32, {c.head_dim}),
        rope(device, DType::kF32, {1, 2, c.head_dim / 2}),
        k_cache(device, DType::kF16, {c.num_kv_heads, c.kv_capacity, c.head_dim}),
        v_cache(device, DType::kF16, {c.num_kv_heads, c.kv_capacity, c.head_dim}),
        out(device, DType::kF32, {c.num_heads, c.head_dim}),
        params{.num_heads = c.num_heads,
               .num_kv_heads = c.num_kv_heads,
               .head_dim = c.head_dim,
               .kv_seq_len = c.kv_seq_len,
               .kv_capacity = c.kv_capacity,
               .scale = 1.0f / std::sqrt(static_cast<float>(c.head_dim)),
               .mask_type = static_cast<uint32_t>(c.mask),
               .sliding_window = c.sliding_window,
               .ring_start = c.ring_start} {
    for (Guarded* g : {&q, &k, &v, &q_norm, &k_norm}) {
      values.push_back(random_normal(g->view().elements(), seed++, 1.5f));
      g->fill<float>(values.back());
    }
    std::vector<float>& table = values.emplace_back(c.head_dim);
    for (uint32_t i = 0; i < c.head_dim / 2; ++i) {
      table[i] = static_cast<float>(std::cos(0.1 * i + 1));
      table[c.head_dim / 2 + i] = static_cast<float>(std::sin(0.1 * i + 1));
    }
    rope.fill<float>(table);
    k_values = halves(seed++);
    v_values = halves(seed++);
    restore();
  }

  uint32_t new_slot() const {
    return slot_of_logical(c.kv_seq_len - 1, c.ring_start, c.kv_capacity);
  }

  // The caches as before the call; `out` poisoned.
  void restore() {
    k_cache.fill<uint16_t>(k_values);
    v_cache.fill<uint16_t>(v_values);
    out.poison();
  }

  AttentionStepArgs args() const {
    return {.q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .q_norm = q_norm.view(),
            .k_norm = k_norm.view(),
            .rope = rope.view(),
            .eps = kStepEps,
            .k_cache = k_cache.view(),
            .v_cache = v_cache.view(),
            .out = out.view(),
            .kv_seq_len = params.kv_seq_len,
            .scale = params.scale,
            .mask = static_cast<AttnMask>(params.mask_type),
            .sliding_window = params.sliding_window,
            .ring_start = params.ring_start};
  }

  void run(const Device& device) {
    restore();
    CommandEncoder encoder(device);
    attention_step(encoder, args());
    encoder.commit_and_wait();
  }

  bool intact() const {
    for (const Guarded* g : {&q, &k, &v, &q_norm, &k_norm, &rope, &k_cache, &v_cache, &out})
      if (!g->intact()) return false;
    return true;
  }

  std::vector<uint16_t> halves(uint64_t seed) const {
    constexpr uint16_t kNanHalf = 0x7E01;
    const std::vector<float> random = random_normal(k_cache.view().elements(), seed);
    std::vector<uint16_t> result(random.size());
    for (size_t i = 0; i < result.size(); ++i) {
      const auto slot = static_cast<uint32_t>(i / c.head_dim % c.kv_capacity);
      const uint32_t age = logical_of_slot(slot, c.ring_start, c.kv_capacity);
      const bool attended = slot < c.kv_seq_len && age + 1 < c.kv_seq_len &&
                            age >= window_start(c.mask, c.sliding_window, c.kv_seq_len);
      result[i] = attended ? f16_from_f32(random[i]) : kNanHalf;
    }
    return result;
  }

  AttentionStepCase c;
  Guarded q, k, v, q_norm, k_norm, rope, k_cache, v_cache, out;
  FlashAttnVecParams params;
  std::vector<std::vector<float>> values;  // q, k, v, q_norm, k_norm, rope
  std::vector<uint16_t> k_values, v_values;
};

template <typename T>
std::vector<T> content(const Guarded& g) {
  const std::span<const T> all = g.view().span<const T>();
  return {all.begin(), all.end()};
}

}  // namespace decant::testing

#endif  // DECANT_OPS_ATTENTION_STEP_TEST_PROBLEM_H_
