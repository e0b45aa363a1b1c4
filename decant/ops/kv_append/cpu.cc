#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/kv_append/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/kv_append/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/rows-inl.h"
#include "decant/kernels/rows16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace rows = decant::HWY_NAMESPACE;

// Row `row` of `from`, which is f16 or f32, to `to`.
void copy_row(const std::byte* from, bool is_f16, size_t row, uint16_t* to, size_t head_dim) {
  if (is_f16) {
    const uint16_t* source = reinterpret_cast<const uint16_t*>(from) + row * head_dim;
    std::copy(source, source + head_dim, to);
    return;
  }
  const float* source = reinterpret_cast<const float*>(from) + row * head_dim;
  const hn::ScalableTag<float> d;
  rows::for_each_vector(d, head_dim, [&](size_t i, size_t count) HWY_ATTR {
    rows::store_row16<rows::F16Row>(rows::load_row(d, source + i, count), d, to + i, count);
  });
}

void kv_append(const CpuGroup& group) {
  const auto& params = group.params<KvAppendParams>();
  const uint64_t position = *group.arg<const uint32_t>(1);
  const size_t head_dim = params.head_dim, num_heads = params.num_kv_heads;
  const size_t group_rows = kv_append_group_rows(params.head_dim);
  const size_t begin = group.group.x * group_rows;
  const size_t end = std::min<size_t>(begin + group_rows, params.rows);
  for (size_t i = begin; i < end; ++i) {
    const size_t row = params.first_token * num_heads + i;
    uint64_t slot = position + row / num_heads;
    if (params.ring)
      slot %= params.kv_capacity;
    else if (slot >= params.kv_capacity)
      return;  // and so are the tokens after it
    const size_t to = (row % num_heads * params.kv_capacity + slot) * head_dim;
    copy_row(group.arg<const std::byte>(2), params.k_is_f16, row, group.arg<uint16_t>(4) + to,
             head_dim);
    copy_row(group.arg<const std::byte>(3), params.v_is_f16, row, group.arg<uint16_t>(5) + to,
             head_dim);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(kv_append);
void kv_append(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(kv_append)(group); }
}  // namespace decant::cpu
#endif
