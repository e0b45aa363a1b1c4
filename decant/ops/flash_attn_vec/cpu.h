// What flash_attn_vec.cc needs of the CPU kernels in cpu.cc.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_CPU_H_
#define DECANT_OPS_FLASH_ATTN_VEC_CPU_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/kernel_registry.h"

namespace decant::cpu {

// Kernels for head_dim 64, 128 or 256. Slots: 0 params, 1 q, 2 k, 3 v, 4 out or tmp; split: 5
// scratch. Grids: (num_kv_heads), (num_kv_heads, 32), (attention_parts(kv_capacity),
// num_kv_heads), and for the reduce (rows).
CpuKernel flash_attn_vec_one(uint32_t head_dim);
CpuKernel flash_attn_vec_nwg32(uint32_t head_dim);
CpuKernel flash_attn_vec_split(uint32_t head_dim);
CpuKernel flash_attn_vec_reduce(uint32_t head_dim);

// Scratch of one group for `heads` query heads.
uint32_t flash_attn_vec_shared_bytes(uint32_t heads, uint32_t head_dim);
// The split form's partial results and one counter per KV head.
size_t flash_attn_vec_scratch_bytes(uint32_t num_heads, uint32_t num_kv_heads, uint32_t head_dim,
                                    uint32_t splits);

}  // namespace decant::cpu

#endif  // DECANT_OPS_FLASH_ATTN_VEC_CPU_H_
