// First kernel: every chunk of the logits, in parallel. The second is in cpu_draw.cc.
#include <algorithm>
#include <limits>

#include "decant/core/kernel_registry.h"
#include "decant/ops/sample/plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/sample/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "decant/kernels/rows-inl.h"
#include "decant/kernels/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using namespace decant::HWY_NAMESPACE;

// Sum of exp((x - max) / temp), f32 within blocks, f64 across them. NaN counts nothing.
double sum_exp(const float* x, size_t n, float max, float temp) {
  if (max - max != 0)  // infinite: only what equals it has weight
    return static_cast<double>(std::count(x, x + n, max));
  const hn::ScalableTag<float> d;
  // Finite, so that 0 stays 0 for the smallest temperatures.
  const auto vmax = hn::Set(d, max), vscale = hn::Set(d, std::min(1 / temp, 1e30f));
  // Below, exp is not a normal f32, which is slow and adds nothing to the 1 of the greatest. The
  // clamp keeps NaN and -inf away from Exp.
  const auto lowest = hn::Set(d, -87.0f);
  constexpr size_t kBlock = 1024;
  double sum = 0;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    auto block = hn::Zero(d);
    for_each_vector(d, std::min(kBlock, n - begin), [&](size_t i, size_t rest) {
      auto v = hn::Mul(hn::Sub(load_row(d, x + begin + i, rest), vmax), vscale);
      auto counts = hn::Gt(v, lowest);
      if (rest < hn::Lanes(d)) counts = hn::And(counts, hn::FirstN(d, rest));
      v = hn::IfThenElse(counts, v, lowest);
      block = hn::Add(block, hn::IfThenElseZero(counts, hn::Exp(d, v)));
    });
    sum += hn::GetLane(hn::SumOfLanes(d, block));
  }
  return sum;
}

void sample_chunk(const CpuGroup& group) {
  static_assert(kSampleSelectMax <= kSelectMaxK);
  const hn::ScalableTag<float> d;
  const SampleSlots slots(group);
  const SampleFilter filter(slots.params);
  const SampleWorkspace workspace(slots.shape.vocab);
  const uint32_t begin = group.group.x * kSelectChunk;
  const uint32_t n = std::min(kSelectChunk, slots.shape.vocab - begin);
  const float* x = slots.logits + begin;

  if (!filter.selects()) {
    float* copy = workspace.logits(slots.workspace) + begin;
    std::copy(x, x + n, copy);
    x = copy;
  }
  // Computed from the original logit each time, so a token that occurs twice is penalised once.
  if (filter.penalty != 1) {
    const uint64_t length = slots.state->history_length;
    const uint64_t last_n =
        std::min<uint64_t>({length, slots.params.repeat_last_n, slots.shape.history_capacity});
    for (uint64_t i = length - last_n; i < length; ++i) {
      const auto token = static_cast<uint32_t>(slots.history[i % slots.shape.history_capacity]);
      if (token < begin || token - begin >= n) continue;
      auto* changed = reinterpret_cast<float*>(group.shared);
      if (!filter.selects())
        changed = workspace.logits(slots.workspace) + begin;
      else if (x != changed)
        std::copy(x, x + n, changed);
      const float logit = slots.logits[token];
      changed[token - begin] = logit > 0 ? logit / filter.penalty : logit * filter.penalty;
      x = changed;
    }
  }

  if (filter.selects()) {
    uint64_t* keys = workspace.keys(slots.workspace) + size_t{group.group.x} * filter.top_k;
    size_t count = 1;
    if (filter.top_k == 1)
      keys[0] = select_best(d, x, n, begin);
    else
      count = select_top_k(d, x, n, filter.top_k, begin, keys);
    std::fill(keys + count, keys + filter.top_k, uint64_t{0});
    return;
  }
  SampleChunk& state = workspace.chunk_states(slots.workspace)[group.group.x];
  state = {.sum = 0, .max = max_of(d, x, n), .unused = 0};
  if (filter.top_k == 0 && (filter.top_p < 1 || filter.keeps_all()))
    state.sum = sum_exp(x, n, state.max, filter.keeps_all() ? filter.temp : 1.0f);
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(sample_chunk);
void sample_chunk(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(sample_chunk)(group); }
}  // namespace decant::cpu
#endif
