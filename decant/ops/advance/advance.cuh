// What the advance kernels do. Compiled by NVRTC, so no standard headers.
#ifndef DECANT_OPS_ADVANCE_ADVANCE_CUH_
#define DECANT_OPS_ADVANCE_ADVANCE_CUH_

#include "decant/ops/advance/params.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {

// Leaves what `now` means for each kind of cache.
__device__ inline void advance_to(DecodeStep now, DecodeStep* step, FlashAttnVecParams* attn_a,
                                  FlashAttnVecParams* attn_b) {
  *step = now;
  for (FlashAttnVecParams* attn : {attn_a, attn_b}) {
    const RingState ring = ring_after(now.position + 1, attn->kv_capacity);
    attn->kv_seq_len = ring.kv_seq_len;
    attn->ring_start = ring.ring_start;
  }
}

// One store, which the host sees whole.
__device__ inline void log_step(DecodeStep now, uint64_t* log, uint32_t slots) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" ::"l"(log + now.position % slots),
               "l"(decode_log_entry(now))
               : "memory");
}

}  // namespace decant

#endif  // DECANT_OPS_ADVANCE_ADVANCE_CUH_
