#include "decant/core/kernel_registry.h"
#include "decant/ops/advance/advance.h"
#include "decant/ops/advance/params.h"

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

}  // namespace decant::cpu
