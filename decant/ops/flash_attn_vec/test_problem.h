// A seeded problem of one case, on the device between poisoned guards, for test.cc and
// nonfinite_test.cc.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_TEST_PROBLEM_H_
#define DECANT_OPS_FLASH_ATTN_VEC_TEST_PROBLEM_H_

#include <fmt/core.h>

#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "decant/core/encoder.h"
#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_vec/cases.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "testing/compare.h"
#include "testing/guarded.h"

namespace decant {

// Of ||sum p |v| ||, head by head.
inline constexpr double kFlashAttnVecBound = 1e-5;
inline constexpr uint16_t kNanHalf = 0x7E01, kInfinityHalf = 0x7C00, kMinusInfinityHalf = 0xFC00;

inline std::string describe(const FlashAttnVecCase& c) {
  return fmt::format("D {} heads {}/{} kv {} of {} ring_start {} mask {} window {}", c.head_dim,
                     c.num_heads, c.num_kv_heads, c.kv_seq_len, c.kv_capacity, c.ring_start,
                     static_cast<uint32_t>(c.mask), c.sliding_window);
}

// One case's tensors between poisoned guards; slots that are not attended hold NaN.
struct FlashAttnVecProblem {
  FlashAttnVecProblem(const Device& device, const FlashAttnVecCase& c, uint64_t seed)
      : params{c.num_heads,
               c.num_kv_heads,
               c.head_dim,
               c.kv_seq_len,
               c.kv_capacity,
               1.0f / std::sqrt(static_cast<float>(c.head_dim)),
               static_cast<uint32_t>(c.mask),
               c.sliding_window,
               c.ring_start},
        q(device, DType::kF32, {c.num_heads, c.head_dim}),
        k(device, DType::kF16, {c.num_kv_heads, c.kv_capacity, c.head_dim}),
        v(device, DType::kF16, {c.num_kv_heads, c.kv_capacity, c.head_dim}),
        out(device, DType::kF32, {c.num_heads, c.head_dim}),
        tmp(device, DType::kF32,
            {flash_attn_vec_tmp_bytes(c.num_heads, c.head_dim, 32) / sizeof(float)}),
        q_values(testing::random_normal(q.view().elements(), seed, 2.0f)),
        k_values(halves(c, seed + 1)),
        v_values(halves(c, seed + 2)) {
    q.fill<float>(q_values);
    k.fill<uint16_t>(k_values);
    v.fill<uint16_t>(v_values);
  }

  static bool attends(const FlashAttnVecCase& c, uint32_t slot) {
    const uint32_t age = logical_of_slot(slot, c.ring_start, c.kv_capacity);
    return slot < c.kv_seq_len && age < c.kv_seq_len &&
           age >= window_start(c.mask, c.sliding_window, c.kv_seq_len);
  }

  static std::vector<uint16_t> halves(const FlashAttnVecCase& c, uint64_t seed) {
    const std::vector<float> values =
        testing::random_normal(size_t{c.num_kv_heads} * c.kv_capacity * c.head_dim, seed);
    std::vector<uint16_t> halves(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const auto slot = static_cast<uint32_t>(i / c.head_dim % c.kv_capacity);
      halves[i] = attends(c, slot) ? f16_from_f32(values[i]) : kNanHalf;
    }
    return halves;
  }

  FlashAttnVecArgs args(uint32_t workgroups) const {
    return {.q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .out = out.view(),
            .kv_seq_len = params.kv_seq_len,
            .scale = params.scale,
            .mask = static_cast<AttnMask>(params.mask_type),
            .sliding_window = params.sliding_window,
            .ring_start = params.ring_start,
            .workgroups_per_head = workgroups,
            .tmp = workgroups == 32 ? tmp.view() : Buffer{}};
  }

  std::vector<float> run(const Device& device, uint32_t workgroups) {
    out.poison();
    tmp.poison();
    CommandEncoder encoder(device);
    flash_attn_vec(encoder, args(workgroups));
    encoder.commit_and_wait();
    const std::span<const float> got = out.view().span<float>();
    return {got.begin(), got.end()};
  }

  FlashAttnVecParams params;
  testing::Guarded q, k, v, out, tmp;
  std::vector<float> q_values;
  std::vector<uint16_t> k_values, v_values;
};

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_VEC_TEST_PROBLEM_H_
