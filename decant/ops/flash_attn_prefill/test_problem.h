// A seeded problem of one case, on the device between poisoned guards, for test.cc.
#ifndef DECANT_OPS_FLASH_ATTN_PREFILL_TEST_PROBLEM_H_
#define DECANT_OPS_FLASH_ATTN_PREFILL_TEST_PROBLEM_H_

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_prefill/cases.h"
#include "decant/ops/flash_attn_prefill/flash_attn_prefill.h"
#include "decant/ops/flash_attn_prefill/reference.h"
#include "testing/compare.h"
#include "testing/guarded.h"

namespace decant {

inline constexpr uint16_t kF16Nan = 0xFFFF, kF16Infinity = 0x7C00, kF16MinusInfinity = 0xFC00;

inline std::vector<uint16_t> random_f16(size_t n, uint64_t seed) {
  std::vector<uint16_t> bits;
  bits.reserve(n);
  for (const float x : testing::random_normal(n, seed)) bits.push_back(f16_from_f32(x));
  return bits;
}

// First key that query `token` attends; it attends all up to its own, kv_seq_len + token.
inline uint32_t first_key(const PrefillCase& c, uint32_t token) {
  return window_start(c.mask, c.sliding_window, c.kv_seq_len + token + 1);
}

struct Problem {
  PrefillCase c;
  float scale;
  std::vector<float> q;
  std::vector<uint16_t> k_new, v_new, k_cache, v_cache;

  // Slots that no query attends are NaN.
  explicit Problem(const PrefillCase& shape, float q_size = 1)
      : c(shape), scale(1 / std::sqrt(static_cast<float>(shape.head_dim))) {
    const size_t row = c.head_dim, fresh = size_t{c.n} * c.num_kv_heads * row,
                 cached = size_t{c.num_kv_heads} * c.kv_capacity * row;
    q = testing::random_normal(size_t{c.n} * c.num_heads * row, 1, q_size);
    k_new = random_f16(fresh, 2);
    v_new = random_f16(fresh, 3);
    k_cache = random_f16(cached, 4);
    v_cache = random_f16(cached, 5);
    for (uint32_t slot = 0; slot < c.kv_capacity; ++slot) {
      const uint32_t key = logical_of_slot(slot, c.ring_start, c.kv_capacity);
      if (key >= first_key(c, 0) && key < c.kv_seq_len) continue;
      for (uint32_t head = 0; head < c.num_kv_heads; ++head)
        for (size_t d = 0; d < row; ++d)
          k_cache[cache_at(slot, head) + d] = v_cache[cache_at(slot, head) + d] = kF16Nan;
    }
  }

  size_t cache_at(uint32_t slot, uint32_t head) const {
    return (size_t{head} * c.kv_capacity + slot) * c.head_dim;
  }
  // The row of a key, numbered by age, among K or among V.
  std::span<uint16_t> key_row(bool values, uint32_t key, uint32_t head) {
    auto& cache = values ? v_cache : k_cache;
    auto& fresh = values ? v_new : k_new;
    if (key >= c.kv_seq_len)
      return std::span(fresh).subspan(
          (size_t{key - c.kv_seq_len} * c.num_kv_heads + head) * c.head_dim, c.head_dim);
    return std::span(cache).subspan(
        cache_at(slot_of_logical(key, c.ring_start, c.kv_capacity), head), c.head_dim);
  }

  reference::PrefillOutput want() const {
    return reference::flash_attn_prefill({.n = c.n,
                                          .num_heads = c.num_heads,
                                          .num_kv_heads = c.num_kv_heads,
                                          .head_dim = c.head_dim,
                                          .q = q,
                                          .k_new = k_new,
                                          .v_new = v_new,
                                          .k_cache = k_cache,
                                          .v_cache = v_cache,
                                          .kv_seq_len = c.kv_seq_len,
                                          .kv_capacity = c.kv_capacity,
                                          .ring_start = c.ring_start,
                                          .scale = scale,
                                          .mask = c.mask,
                                          .sliding_window = c.sliding_window});
  }

  // Fails the test if anything but out was written.
  std::vector<float> run(const Device& device) const {
    using testing::Guarded;
    Guarded gq(device, DType::kF32, {c.n, c.num_heads, c.head_dim});
    Guarded out(device, DType::kF32, {c.n, c.num_heads, c.head_dim});
    Guarded gk(device, DType::kF16, {c.n, c.num_kv_heads, c.head_dim});
    Guarded gv(device, DType::kF16, {c.n, c.num_kv_heads, c.head_dim});
    std::optional<Guarded> ck, cv;
    gq.fill<float>(q);
    gk.fill<uint16_t>(k_new);
    gv.fill<uint16_t>(v_new);
    if (c.kv_capacity > 0) {
      ck.emplace(device, DType::kF16, Shape{c.num_kv_heads, c.kv_capacity, c.head_dim});
      cv.emplace(device, DType::kF16, Shape{c.num_kv_heads, c.kv_capacity, c.head_dim});
      ck->fill<uint16_t>(k_cache);
      cv->fill<uint16_t>(v_cache);
    }
    CommandEncoder encoder(device);
    flash_attn_prefill(encoder, {.q = gq.view(),
                                 .k_new = gk.view(),
                                 .v_new = gv.view(),
                                 .k_cache = ck ? ck->view() : Buffer(),
                                 .v_cache = cv ? cv->view() : Buffer(),
                                 .out = out.view(),
                                 .kv_seq_len = c.kv_seq_len,
                                 .ring_start = c.ring_start,
                                 .scale = scale,
                                 .mask = c.mask,
                                 .sliding_window = c.sliding_window});
    encoder.commit_and_wait();
    for (const Guarded* buffer : {&gq, &gk, &gv, &out}) EXPECT_TRUE(buffer->intact());
    const std::span<const float> got = out.view().span<float>();
    return {got.begin(), got.end()};
  }
};

inline std::string describe(const PrefillCase& c) {
  return fmt::format("n {} heads {}/{} dim {} older {} of {} start {} mask {} window {}", c.n,
                     c.num_heads, c.num_kv_heads, c.head_dim, c.kv_seq_len, c.kv_capacity,
                     c.ring_start, static_cast<uint32_t>(c.mask), c.sliding_window);
}

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_PREFILL_TEST_PROBLEM_H_
