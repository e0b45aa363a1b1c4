#include <algorithm>
#include <functional>

#include "decant/core/kernel_registry.h"
#include "decant/ops/top_k/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/top_k/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using namespace decant::HWY_NAMESPACE;

// One group: the candidates of one chunk.
void top_k_chunk(const CpuGroup& group) {
  static_assert(kTopKSelectMax <= kSelectMaxK);
  const auto& params = group.params<TopKParams>();
  const uint32_t begin = group.group.x * kSelectChunk;
  const size_t n = std::min<size_t>(kSelectChunk, params.elements - begin);
  const float* x = group.arg<const float>(1) + begin;
  uint64_t* keys = group.arg<uint64_t>(2) + size_t{group.group.x} * params.candidates;
  size_t count = 0;
  if (params.k <= kTopKSelectMax)
    count = select_top_k(hn::ScalableTag<float>(), x, n, params.k, begin, keys);
  else
    for (; count < n; ++count)
      keys[count] = order_key(x[count], begin + static_cast<uint32_t>(count));
  std::fill(keys + count, keys + params.candidates, uint64_t{0});
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(top_k_chunk);
void top_k_chunk(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(top_k_chunk)(group); }

// One group does it all: k is small, or the caller wants much to be sorted.
void top_k_merge(const CpuGroup& group) {
  const auto& params = group.params<TopKParams>();
  const float* x = group.arg<const float>(1);
  uint64_t* keys = group.arg<uint64_t>(2);
  uint64_t* end = keys + size_t{select_chunks(params.elements)} * params.candidates;
  uint64_t* kth = keys + params.k;
  if (kth != end) std::nth_element(keys, kth - 1, end, std::greater<>());
  std::sort(keys, kth, std::greater<>());
  for (size_t i = 0; i < params.k; ++i) {
    const uint32_t index = key_index(keys[i]);
    group.arg<float>(3)[i] = x[index];
    group.arg<int32_t>(4)[i] = static_cast<int32_t>(index);
  }
}

}  // namespace decant::cpu
#endif
