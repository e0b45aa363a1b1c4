// Shared by host and device code.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_PARAMS_H_
#define DECANT_OPS_FLASH_ATTN_VEC_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct FlashAttnVecParams {
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t head_dim;
  uint32_t kv_seq_len;
  uint32_t kv_capacity;
  float scale;
  uint32_t mask_type;  // AttnMask
  uint32_t sliding_window;
  uint32_t ring_start;
};
static_assert(sizeof(FlashAttnVecParams) == 36);
static_assert(offsetof(FlashAttnVecParams, num_heads) == 0);
static_assert(offsetof(FlashAttnVecParams, num_kv_heads) == 4);
static_assert(offsetof(FlashAttnVecParams, head_dim) == 8);
static_assert(offsetof(FlashAttnVecParams, kv_seq_len) == 12);
static_assert(offsetof(FlashAttnVecParams, kv_capacity) == 16);
static_assert(offsetof(FlashAttnVecParams, scale) == 20);
static_assert(offsetof(FlashAttnVecParams, mask_type) == 24);
static_assert(offsetof(FlashAttnVecParams, sliding_window) == 28);
static_assert(offsetof(FlashAttnVecParams, ring_start) == 32);

// Slot 5 of the GPU kernels: what the host knows of the tensors, whatever a params buffer holds.
struct FlashAttnVecSizes {
  uint32_t num_kv_heads;
  uint32_t kv_capacity;
};
static_assert(sizeof(FlashAttnVecSizes) == 8 && offsetof(FlashAttnVecSizes, num_kv_heads) == 0 &&
              offsetof(FlashAttnVecSizes, kv_capacity) == 4);

struct FlashAttnVecReduceParams {
  int32_t nrows;
};
static_assert(sizeof(FlashAttnVecReduceParams) == 4);
static_assert(offsetof(FlashAttnVecReduceParams, nrows) == 0);

// What a CUDA kernel needs beside the params: sizes, which it takes from the launch and never from
// a struct in a buffer. The query heads of a KV head are cut into chunks, the grid's third axis.
struct FlashAttnVecCudaShape {
  uint32_t num_heads;
  uint32_t group_heads;  // num_heads / num_kv_heads
  uint32_t chunk_heads;  // of a group, at most
  uint32_t kv_capacity;
};
static_assert(sizeof(FlashAttnVecCudaShape) == 16);
static_assert(offsetof(FlashAttnVecCudaShape, num_heads) == 0);
static_assert(offsetof(FlashAttnVecCudaShape, group_heads) == 4);
static_assert(offsetof(FlashAttnVecCudaShape, chunk_heads) == 8);
static_assert(offsetof(FlashAttnVecCudaShape, kv_capacity) == 12);

// The 32-workgroup form: workgroup w takes the blocks w, w + 32, ... of 32 slots.
DECANT_CONSTANT uint32_t kFlashAttnVecWorkgroups = 32;
DECANT_CONSTANT uint32_t kFlashAttnVecBlock = 32;

// What a workgroup without attended keys reports as its maximum: -FLT_MAX / 2, finite so that
// differences of two of them are no NaN.
DECANT_CONSTANT float kFlashAttnVecNoMax = -1.70141173e38f;

// tmp of R rows: O as [row][dim / 4][workgroup][dim % 4], then from R * head_dim * 32 on S and M as
// [row][workgroup][2]. Float indices.
constexpr uint64_t flash_attn_vec_tmp_o(uint64_t row, uint32_t dim, uint32_t workgroup,
                                        uint32_t head_dim) {
  return row * head_dim * kFlashAttnVecWorkgroups +
         uint64_t{dim / 4} * kFlashAttnVecWorkgroups * 4 + workgroup * 4 + dim % 4;
}
constexpr uint64_t flash_attn_vec_tmp_sm(uint64_t rows, uint64_t row, uint32_t workgroup,
                                         uint32_t head_dim) {
  return rows * head_dim * kFlashAttnVecWorkgroups +
         (row * kFlashAttnVecWorkgroups + workgroup) * 2;
}

}  // namespace decant

#endif  // DECANT_OPS_FLASH_ATTN_VEC_PARAMS_H_
