// Translation of kernels.cu. One thread: some twenty words.
#include <metal_stdlib>

#include "decant/ops/advance/params.h"
#include "decant/ops/flash_attn_vec/params.h"

using namespace metal;
using namespace decant;

static void set_length(device FlashAttnVecParams& attn, uint tokens) {
  const RingState ring = ring_after(tokens, attn.kv_capacity);
  attn.kv_seq_len = ring.kv_seq_len;
  attn.ring_start = ring.ring_start;
}

static void advance_step(device DecodeStep& step, int token, device FlashAttnVecParams& attn_a,
                         device FlashAttnVecParams& attn_b) {
  const uint position = step.position + 1;
  step.position = position;
  step.token = uint(token);
  set_length(attn_a, position + 1);
  set_length(attn_b, position + 1);
}

kernel void advance(device DecodeStep& step [[buffer(0)]], device const int& token [[buffer(1)]],
                    device FlashAttnVecParams& attn_a [[buffer(2)]],
                    device FlashAttnVecParams& attn_b [[buffer(3)]],
                    uint thread_index [[thread_position_in_grid]]) {
  if (thread_index == 0) advance_step(step, token, attn_a, attn_b);
}

// One store of eight bytes a step.
kernel void advance_log(device DecodeStep& step [[buffer(0)]],
                        device const int& token [[buffer(1)]],
                        device FlashAttnVecParams& attn_a [[buffer(2)]],
                        device FlashAttnVecParams& attn_b [[buffer(3)]],
                        device ulong* log [[buffer(4)]], constant uint& log_slots [[buffer(5)]],
                        uint thread_index [[thread_position_in_grid]]) {
  if (thread_index != 0) return;
  advance_step(step, token, attn_a, attn_b);
  const DecodeStep now = step;
  log[now.position % log_slots] = decode_log_entry(now);
}
