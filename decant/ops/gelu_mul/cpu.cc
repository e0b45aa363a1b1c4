#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/gelu_mul/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/gelu_mul/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// 0.5 (1 + tanh(u)) is the logistic function of 2u, which needs one exp and one division.
template <class D, class V>
V gelu(D d, V x) {
  const V two_u = hn::Mul(hn::Mul(hn::Set(d, 1.5957691216057308f), x),
                          hn::MulAdd(hn::Mul(hn::Set(d, 0.044715f), x), x, hn::Set(d, 1.0f)));
  // Below -80 the logistic is 0 in f32, above 80 it is 1; the clamp keeps exp finite. A NaN fails
  // both comparisons and passes through the division.
  const V clamped = hn::Min(hn::Max(two_u, hn::Set(d, -80.0f)), hn::Set(d, 80.0f));
  const V result = hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(clamped))));
  return hn::IfThenZeroElse(hn::Lt(two_u, hn::Set(d, -80.0f)), result);
}

void gelu_mul(const CpuGroup& group) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const size_t begin = size_t{group.group.x} * kGeluMulGroupElements;
  const size_t end =
      std::min<size_t>(begin + kGeluMulGroupElements, group.params<GeluMulParams>().elements);
  const float* gate = group.arg<const float>(1);
  const float* up = group.arg<const float>(2);
  float* out = group.arg<float>(3);

  size_t i = begin;
  for (; i + lanes <= end; i += lanes)
    hn::StoreU(hn::Mul(gelu(d, hn::LoadU(d, gate + i)), hn::LoadU(d, up + i)), d, out + i);
  if (i < end) {
    HWY_ALIGN float tail[2][hn::MaxLanes(d)] = {};
    std::copy(gate + i, gate + end, tail[0]);
    std::copy(up + i, up + end, tail[1]);
    hn::Store(hn::Mul(gelu(d, hn::Load(d, tail[0])), hn::Load(d, tail[1])), d, tail[0]);
    std::copy(tail[0], tail[0] + (end - i), out + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(gelu_mul);
void gelu_mul(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(gelu_mul)(group); }
}  // namespace decant::cpu
#endif
