#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/softcap/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/softcap/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include "decant/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using namespace decant::HWY_NAMESPACE;

void softcap(const CpuGroup& group) {
  const hn::ScalableTag<float> d;
  const auto& params = group.params<SoftcapParams>();
  const size_t begin = size_t{group.group.x} * kSoftcapGroupElements;
  const size_t count = std::min<size_t>(kSoftcapGroupElements, params.elements - begin);
  const float* x = group.arg<const float>(1) + begin;
  float* out = group.arg<float>(2) + begin;

  const auto cap = hn::Set(d, params.cap);
  for_each_vector(d, count, [&](size_t i, size_t rest) {
    const auto v = load_row(d, x + i, rest);
    const auto capped = hn::Mul(cap, hn::Tanh(d, hn::Div(v, cap)));
    // Tanh clamps its argument, which may lose a NaN.
    store_row(hn::IfThenElse(hn::IsNaN(v), v, capped), d, out + i, rest);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(softcap);
void softcap(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(softcap)(group); }
}  // namespace decant::cpu
#endif
