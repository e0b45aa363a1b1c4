// Shared by host and device code.
#ifndef DECANT_OPS_KV_APPEND_PARAMS_H_
#define DECANT_OPS_KV_APPEND_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

struct KvAppendParams {
  uint32_t first_token;  // of those given; the ones before it would be overwritten by later ones
  uint32_t rows;         // (tokens - first_token) * num_kv_heads
  uint32_t num_kv_heads;
  uint32_t head_dim;
  uint32_t kv_capacity;
  uint32_t ring;      // 1: slots are taken modulo the capacity; 0: tokens beyond it are dropped
  uint32_t k_is_f16;  // else f32
  uint32_t v_is_f16;
};
static_assert(sizeof(KvAppendParams) == 32 && offsetof(KvAppendParams, first_token) == 0 &&
              offsetof(KvAppendParams, rows) == 4 && offsetof(KvAppendParams, num_kv_heads) == 8 &&
              offsetof(KvAppendParams, head_dim) == 12 &&
              offsetof(KvAppendParams, kv_capacity) == 16 && offsetof(KvAppendParams, ring) == 20 &&
              offsetof(KvAppendParams, k_is_f16) == 24 && offsetof(KvAppendParams, v_is_f16) == 28);

// Rows (heads of a token, k and v) that one group copies: about 4,096 elements.
constexpr uint32_t kv_append_group_rows(uint32_t head_dim) {
  return head_dim < 2048 ? 2048 / head_dim : 1;
}

}  // namespace decant

#endif  // DECANT_OPS_KV_APPEND_PARAMS_H_
