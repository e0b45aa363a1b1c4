// A group attends one part of one KV head's keys, and norms and ropes the query heads for itself:
// 0.4 us for four heads of 256, once a thread. The group whose part ends with the new token writes
// it first; no other group looks at its slot.
#include "decant/ops/attention_step/cpu.h"

#include <algorithm>

#include "decant/kernels/attention_split.h"
#include "decant/ops/attention_step/params.h"
#include "decant/ops/flash_attn_vec/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/attention_step/cpu.cc"
#include <hwy/foreach_target.h>
// Below foreach_target.h: included once for each target.
#include <hwy/highway.h>

#include "decant/kernels/attention_heads-inl.h"
#include "decant/kernels/norm_rope-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;  // NOLINT: the kernels' shared algebra

// A group's scratch: which KV head's queries it holds (+ 1; 0: none yet), those, the workspace of
// attend_part.
constexpr size_t kQueries = 16;  // floats

// Writes the new token's key and value.
template <size_t D>
void append(const CpuGroup& group, uint32_t kv_head, uint32_t slot) {
  const auto& p = *group.arg<const AttentionStepParams>(11);
  const size_t from = size_t{kv_head} * D, to = (size_t{kv_head} * p.kv_capacity + slot) * D;
  norm_rope_head(group.arg<const float>(2) + from, group.arg<const float>(5),
                 group.arg<const float>(6), group.arg<uint16_t>(7) + to, D, p.eps);
  const F32 d;
  for (size_t i = 0; i < D; i += kLanes)
    store_f16(hn::LoadU(d, group.arg<const float>(3) + from + i), d,
              group.arg<uint16_t>(8) + to + i);
}

template <size_t D>
void attention_step(const CpuGroup& group) {
  // Of the params that a device may have written, the lengths are clamped to the cache; the sizes
  // come from the host.
  const auto& live_params = group.params<FlashAttnVecParams>();
  const auto& p = *group.arg<const AttentionStepParams>(11);
  const uint32_t kv_head = group.group.y, heads = p.num_heads / p.num_kv_heads;
  const uint32_t live = std::min(live_params.kv_seq_len, p.kv_capacity);
  const uint32_t ring_start = std::min(live_params.ring_start, p.kv_capacity - 1);
  const uint32_t first =
      window_start(static_cast<AttnMask>(live_params.mask_type), live_params.sliding_window, live);
  const size_t slots = size_t{kv_head} * p.kv_capacity, heads_at = size_t{kv_head} * heads * D;
  auto* scratch = reinterpret_cast<float*>(group.shared);
  float* q = scratch + kQueries;
  const AttentionPart part{.layout = {heads, p.num_kv_heads, D, group.grid.x},
                           .partials = group.arg<float>(10),
                           .kv_head = kv_head,
                           .group = group.group.x,
                           .runs = slot_runs(first, live, ring_start, p.kv_capacity),
                           .q = q,
                           .k = group.arg<const uint16_t>(7) + slots * D,
                           .v = group.arg<const uint16_t>(8) + slots * D,
                           .out = group.arg<float>(9) + heads_at,
                           .work = q + heads * D};

  // Before anything returns: a later group of this thread will be told that the scratch was kept.
  auto& queries_of = *reinterpret_cast<uint32_t*>(scratch);
  if (!group.shared_kept) queries_of = 0;
  if (!part.has_work()) return;
  if (live > 0 && part.has_newest_key())
    append<D>(
        group, kv_head,
        live < p.kv_capacity ? live - 1 : slot_of_logical(live - 1, ring_start, p.kv_capacity));

  if (queries_of != kv_head + 1) {
    for (size_t h = 0; h < heads; ++h)
      norm_rope_head(group.arg<const float>(1) + heads_at + h * D, group.arg<const float>(4),
                     group.arg<const float>(6), q + h * D, D, p.eps);
    const F32 d;
    for (size_t i = 0; i < heads * D; i += kLanes)
      hn::StoreU(hn::Mul(hn::LoadU(d, q + i), hn::Set(d, live_params.scale)), d, q + i);
    queries_of = kv_head + 1;
  }
  attend_part<D>(part);
}

void attention_step_64(const CpuGroup& g) { attention_step<64>(g); }
void attention_step_128(const CpuGroup& g) { attention_step<128>(g); }
void attention_step_256(const CpuGroup& g) { attention_step<256>(g); }

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(attention_step_64);
HWY_EXPORT(attention_step_128);
HWY_EXPORT(attention_step_256);

CpuKernel attention_step(uint32_t head_dim) {
  if (head_dim == 64) return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(attention_step_64)(g); };
  if (head_dim == 128)
    return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(attention_step_128)(g); };
  return [](const CpuGroup& g) { HWY_DYNAMIC_DISPATCH(attention_step_256)(g); };
}

uint32_t attention_step_shared_bytes(uint32_t heads, uint32_t head_dim) {
  const size_t floats = 16 + size_t{heads} * head_dim + attention_work_floats(heads, head_dim);
  return static_cast<uint32_t>(floats * sizeof(float));
}
}  // namespace decant::cpu
#endif
