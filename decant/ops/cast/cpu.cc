#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/ops/cast/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/cast/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/rows-inl.h"
#include "decant/kernels/rows16-inl.h"

// Every conversion goes through f32, which holds all f16 and bf16 values exactly: one rounding.

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace rows = decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

struct F32 {
  using Element = float;
  static HWY_INLINE V load(const float* from, size_t count) {
    return rows::load_row(D(), from, count);
  }
  static HWY_INLINE void store(V v, float* to, size_t count) { rows::store_row(v, D(), to, count); }
};
template <class Row>
struct Narrow {
  using Element = uint16_t;
  static HWY_INLINE V load(const uint16_t* from, size_t count) {
    return rows::load_row16<Row>(D(), from, count);
  }
  static HWY_INLINE void store(V v, uint16_t* to, size_t count) {
    rows::store_row16<Row>(v, D(), to, count);
  }
};
using F16 = Narrow<rows::F16Row>;
using BF16 = Narrow<rows::BF16Row>;

template <class From, class To>
void convert(const CpuGroup& group) {
  const size_t begin = size_t{group.group.x} * kCastGroupElements;
  const size_t n =
      std::min<size_t>(kCastGroupElements, group.params<CastParams>().elements - begin);
  const auto* x = group.arg<const typename From::Element>(1) + begin;
  auto* out = group.arg<typename To::Element>(2) + begin;
  rows::for_each_vector(D(), n, [&](size_t i, size_t count) HWY_ATTR {
    To::store(From::load(x + i, count), out + i, count);
  });
}

template <class From>
void convert_from(const CpuGroup& group) {
  switch (group.params<CastParams>().to) {
    case CastType::kF32:
      return convert<From, F32>(group);
    case CastType::kF16:
      return convert<From, F16>(group);
    case CastType::kBF16:
      return convert<From, BF16>(group);
  }
}

void cast(const CpuGroup& group) {
  switch (group.params<CastParams>().from) {
    case CastType::kF32:
      return convert_from<F32>(group);
    case CastType::kF16:
      return convert_from<F16>(group);
    case CastType::kBF16:
      return convert_from<BF16>(group);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(cast);
void cast(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(cast)(group); }
}  // namespace decant::cpu
#endif
