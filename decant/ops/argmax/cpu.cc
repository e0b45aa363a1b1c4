#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/argmax/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/argmax/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/select-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using namespace decant::HWY_NAMESPACE;

// One group: one row of a single chunk.
void argmax_row(const CpuGroup& group) {
  const size_t row_elems = group.params<ArgmaxParams>().row_elems;
  const float* x = group.arg<const float>(1) + group.group.x * row_elems;
  const uint64_t key = select_best(hn::ScalableTag<float>(), x, row_elems, 0);
  group.arg<int32_t>(2)[group.group.x] = static_cast<int32_t>(key_index(key));
}

// One group: one chunk of one row.
void argmax_chunk(const CpuGroup& group) {
  const size_t row_elems = group.params<ArgmaxParams>().row_elems;
  const size_t begin = size_t{group.group.y} * kSelectChunk;
  const float* x = group.arg<const float>(1) + group.group.x * row_elems + begin;
  group.arg<uint64_t>(2)[size_t{group.group.x} * group.grid.y + group.group.y] =
      select_best(hn::ScalableTag<float>(), x, std::min<size_t>(kSelectChunk, row_elems - begin),
                  static_cast<uint32_t>(begin));
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(argmax_row);
HWY_EXPORT(argmax_chunk);
void argmax_row(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(argmax_row)(group); }
void argmax_chunk(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(argmax_chunk)(group); }

// One group: the best of its chunks, for kArgmaxMergeRows rows.
void argmax_merge(const CpuGroup& group) {
  const auto& params = group.params<ArgmaxParams>();
  const size_t chunks = select_chunks(params.row_elems);
  const size_t begin = size_t{group.group.x} * kArgmaxMergeRows;
  const size_t end = std::min<size_t>(begin + kArgmaxMergeRows, params.rows);
  for (size_t row = begin; row < end; ++row) {
    const uint64_t* keys = group.arg<const uint64_t>(1) + row * chunks;
    group.arg<int32_t>(2)[row] =
        static_cast<int32_t>(key_index(*std::max_element(keys, keys + chunks)));
  }
}

}  // namespace decant::cpu
#endif
