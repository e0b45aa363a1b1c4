#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/qk_norm_rope/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/qk_norm_rope/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/norm_rope-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
using decant::HWY_NAMESPACE::norm_rope_head;

template <class Out>
void norm_rope(const CpuGroup& group) {
  const auto& params = group.params<QkNormRopeParams>();
  const size_t head_dim = params.head_dim;
  const size_t group_rows = qk_norm_rope_group_rows(params.head_dim);
  const size_t begin = group.group.x * group_rows;
  const size_t end = std::min<size_t>(begin + group_rows, params.rows);
  for (size_t row = begin; row < end; ++row) {
    const size_t token = row / params.num_heads;
    norm_rope_head(group.arg<const float>(1) + row * head_dim, group.arg<const float>(2),
                   group.arg<const float>(3) + token * head_dim, group.arg<Out>(4) + row * head_dim,
                   head_dim, params.eps);
  }
}

void qk_norm_rope_f32(const CpuGroup& group) { norm_rope<float>(group); }
void qk_norm_rope_f16(const CpuGroup& group) { norm_rope<uint16_t>(group); }

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(qk_norm_rope_f32);
HWY_EXPORT(qk_norm_rope_f16);
void qk_norm_rope_f32(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(qk_norm_rope_f32)(group); }
void qk_norm_rope_f16(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(qk_norm_rope_f16)(group); }
}  // namespace decant::cpu
#endif
