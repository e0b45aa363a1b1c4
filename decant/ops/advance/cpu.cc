#include <atomic>

#include "decant/core/kernel_registry.h"
#include "decant/ops/advance/params.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant::cpu {

void advance(const CpuGroup& group) {
  auto& step = *group.arg<DecodeStep>(0);
  step.position += 1;
  step.token = static_cast<uint32_t>(*group.arg<const int32_t>(1));
  for (const size_t slot : {2, 3}) {
    auto& attn = *group.arg<FlashAttnVecParams>(slot);
    const RingState ring = ring_after(step.position + 1, attn.kv_capacity);
    attn.kv_seq_len = ring.kv_seq_len;
    attn.ring_start = ring.ring_start;
  }
}

void advance_log(const CpuGroup& group) {
  advance(group);
  const auto& step = *group.arg<const DecodeStep>(0);
  uint64_t& slot = group.arg<uint64_t>(4)[step.position % *group.arg<const uint32_t>(5)];
  std::atomic_ref(slot).store(decode_log_entry(step), std::memory_order_release);
}

}  // namespace decant::cpu
