// Shared by host and device code.
#ifndef DECANT_OPS_ATTENTION_STEP_PARAMS_H_
#define DECANT_OPS_ATTENTION_STEP_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

// Slots: 0 FlashAttnVecParams, 1 q, 2 k, 3 v, 4 q_norm, 5 k_norm, 6 rope, 7 k_cache, 8 v_cache,
// 9 out, 10 scratch, 11 this: what does not change from token to token.
struct AttentionStepParams {
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t kv_capacity;
  float eps;
};
static_assert(sizeof(AttentionStepParams) == 16);
static_assert(offsetof(AttentionStepParams, num_heads) == 0);
static_assert(offsetof(AttentionStepParams, num_kv_heads) == 4);
static_assert(offsetof(AttentionStepParams, kv_capacity) == 8);
static_assert(offsetof(AttentionStepParams, eps) == 12);

}  // namespace decant

#endif  // DECANT_OPS_ATTENTION_STEP_PARAMS_H_
