// What attention_step.cc needs of the CPU kernels in cpu.cc.
#ifndef DECANT_OPS_ATTENTION_STEP_CPU_H_
#define DECANT_OPS_ATTENTION_STEP_CPU_H_

#include <cstdint>

#include "decant/core/kernel_registry.h"

namespace decant::cpu {

// The kernel for head_dim 64, 128 or 256. Grid: (splits, num_kv_heads).
CpuKernel attention_step(uint32_t head_dim);
// Scratch of one group for `heads` query heads.
uint32_t attention_step_shared_bytes(uint32_t heads, uint32_t head_dim);

}  // namespace decant::cpu

#endif  // DECANT_OPS_ATTENTION_STEP_CPU_H_
