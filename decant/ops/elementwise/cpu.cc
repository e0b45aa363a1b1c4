#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/elementwise/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/elementwise/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace rows = decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

// out[i] = op(a[i], b[i % b_elements]) for the group's part, one stretch of b after the other.
template <class Op>
HWY_INLINE void each_element(const CpuGroup& group, const Op& op) {
  const auto& params = group.params<ElementwiseParams>();
  const D d;
  const size_t begin = size_t{group.group.x} * kElementwiseGroupElements;
  const size_t end = std::min<size_t>(begin + kElementwiseGroupElements, params.elements);
  for (size_t at = begin; at < end;) {
    const size_t column = at % params.b_elements;
    const size_t run = std::min<size_t>(end - at, params.b_elements - column);
    const float* a = group.arg<const float>(1) + at;
    const float* b = group.arg<const float>(2) + column;
    float* out = group.arg<float>(3) + at;
    rows::for_each_vector(d, run, [&](size_t i, size_t count) HWY_ATTR {
      const auto result = op(rows::load_row(d, a + i, count), rows::load_row(d, b + i, count));
      rows::store_row(result, d, out + i, count);
    });
    at += run;
  }
}

using V = hn::Vec<D>;
void add(const CpuGroup& group) {
  each_element(group, [](V a, V b) HWY_ATTR { return hn::Add(a, b); });
}
void mul(const CpuGroup& group) {
  each_element(group, [](V a, V b) HWY_ATTR { return hn::Mul(a, b); });
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(add);
HWY_EXPORT(mul);
void add(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(add)(group); }
void mul(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(mul)(group); }
}  // namespace decant::cpu
#endif
