// Shared by host and device code.
#ifndef DECANT_OPS_FLASH_ATTN_PREFILL_PARAMS_H_
#define DECANT_OPS_FLASH_ATTN_PREFILL_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

// The fields of flash_attn_vec's params in their order, then the number of new tokens.
struct FlashAttnPrefillParams {
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t head_dim;
  uint32_t kv_seq_len;   // older keys, in the cache
  uint32_t kv_capacity;  // 0 without a cache
  float scale;
  uint32_t mask_type;
  uint32_t sliding_window;
  uint32_t ring_start;
  uint32_t num_new;  // new tokens
};
static_assert(sizeof(FlashAttnPrefillParams) == 40);
static_assert(offsetof(FlashAttnPrefillParams, num_heads) == 0);
static_assert(offsetof(FlashAttnPrefillParams, num_kv_heads) == 4);
static_assert(offsetof(FlashAttnPrefillParams, head_dim) == 8);
static_assert(offsetof(FlashAttnPrefillParams, kv_seq_len) == 12);
static_assert(offsetof(FlashAttnPrefillParams, kv_capacity) == 16);
static_assert(offsetof(FlashAttnPrefillParams, scale) == 20);
static_assert(offsetof(FlashAttnPrefillParams, mask_type) == 24);
static_assert(offsetof(FlashAttnPrefillParams, sliding_window) == 28);
static_assert(offsetof(FlashAttnPrefillParams, ring_start) == 32);
static_assert(offsetof(FlashAttnPrefillParams, num_new) == 36);

// Metal: rows (heads of a token) that one simdgroup computes.
DECANT_CONSTANT uint32_t kFlashAttnPrefillMetalRows = 4;

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_PREFILL_PARAMS_H_
