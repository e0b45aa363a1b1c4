#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/qk_norm_rope/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/qk_norm_rope/cpu.cc"
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

using D = hn::ScalableTag<float>;

HWY_INLINE void store_out(hn::Vec<D> v, float* to, size_t count) {
  rows::store_row(v, D(), to, count);
}
HWY_INLINE void store_out(hn::Vec<D> v, uint16_t* to, size_t count) {
  rows::store_row16<rows::F16Row>(v, D(), to, count);
}

// One head. The halves i and i + half are read before either is written, so out may be x.
template <class Out>
void norm_rope_head(const float* x, const float* weight, const float* cos, Out* out,
                    size_t head_dim, float eps) {
  const D d;
  const size_t half = head_dim / 2;
  const float* sin = cos + half;
  const auto factor = hn::Set(d, rows::inverse_rms(d, x, head_dim, eps));
  rows::for_each_vector(d, half, [&](size_t i, size_t count) HWY_ATTR {
    const auto low = hn::Mul(hn::Mul(rows::load_row(d, x + i, count), factor),
                             rows::load_row(d, weight + i, count));
    const auto high = hn::Mul(hn::Mul(rows::load_row(d, x + half + i, count), factor),
                              rows::load_row(d, weight + half + i, count));
    const auto c = rows::load_row(d, cos + i, count), s = rows::load_row(d, sin + i, count);
    store_out(hn::NegMulAdd(high, s, hn::Mul(low, c)), out + i, count);
    store_out(hn::MulAdd(low, s, hn::Mul(high, c)), out + half + i, count);
  });
}

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
