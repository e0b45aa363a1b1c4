#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/gelu_mul/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/gelu_mul/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/gelu-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using decant::HWY_NAMESPACE::gelu;

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
