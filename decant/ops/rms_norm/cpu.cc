#include "decant/core/kernel_registry.h"
#include "decant/ops/rms_norm/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/rms_norm/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/rows-inl.h"

// A row is read twice, first for its mean square, then to be scaled; the second time it comes from
// the first-level cache (a row of Gemma 3 has 2.5 to 21 KB). Every step rounds once, with no fused
// multiply-add between steps, so that kernels of several steps give the bits of the single ones.

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
namespace rows = decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

void rms_norm(const CpuGroup& group) {
  const auto& params = group.params<RmsNormParams>();
  const size_t n = params.row_elems, at = group.group.x * n;
  const float* x = group.arg<const float>(1) + at;
  float* out = group.arg<float>(2) + at;
  const D d;
  const auto factor = hn::Set(d, rows::inverse_rms(d, x, n, params.eps));
  rows::for_each_vector(d, n, [&](size_t i, size_t count) HWY_ATTR {
    rows::store_row(hn::Mul(rows::load_row(d, x + i, count), factor), d, out + i, count);
  });
}

void rms_norm_weight(const CpuGroup& group) {
  const auto& params = group.params<RmsNormParams>();
  const size_t n = params.row_elems, at = group.group.x * n;
  const float* x = group.arg<const float>(1) + at;
  const float inv = rows::inverse_rms(D(), x, n, params.eps);
  rows::scale_row(D(), x, inv, group.arg<const float>(2), group.arg<float>(3) + at, n);
}

void rms_norm_add(const CpuGroup& group) {
  const auto& params = group.params<RmsNormParams>();
  const size_t n = params.row_elems, at = group.group.x * n;
  const float* x = group.arg<const float>(1) + at;
  float* residual = group.arg<float>(3) + at;
  const float inv = rows::inverse_rms(D(), x, n, params.eps);
  rows::add_scaled_row(D(), x, inv, group.arg<const float>(2), residual, residual, n);
}

void rms_norm_add_norm(const CpuGroup& group) {
  const auto& params = group.params<RmsNormParams>();
  const size_t n = params.row_elems, at = group.group.x * n;
  const float* x = group.arg<const float>(1) + at;
  float* residual = group.arg<float>(3) + at;
  const float inv = rows::inverse_rms(D(), x, n, params.eps);
  rows::add_scaled_row(D(), x, inv, group.arg<const float>(2), residual, residual, n);
  const float next_inv = rows::inverse_rms(D(), residual, n, params.next_eps);
  rows::scale_row(D(), residual, next_inv, group.arg<const float>(4), group.arg<float>(5) + at, n);
}

void add_rms_norm(const CpuGroup& group) {
  const auto& params = group.params<RmsNormParams>();
  const size_t n = params.row_elems, at = group.group.x * n;
  const float* a = group.arg<const float>(1) + at;
  const float* b = group.arg<const float>(2) + at;
  float* sum = group.arg<float>(3) + at;
  const D d;
  rows::for_each_vector(d, n, [&](size_t i, size_t count) HWY_ATTR {
    rows::store_row(hn::Add(rows::load_row(d, a + i, count), rows::load_row(d, b + i, count)), d,
                    sum + i, count);
  });
  const float inv = rows::inverse_rms(d, sum, n, params.eps);
  rows::scale_row(d, sum, inv, group.arg<const float>(4), group.arg<float>(5) + at, n);
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(rms_norm);
HWY_EXPORT(rms_norm_weight);
HWY_EXPORT(rms_norm_add);
HWY_EXPORT(rms_norm_add_norm);
HWY_EXPORT(add_rms_norm);
void rms_norm(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(rms_norm)(group); }
void rms_norm_weight(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(rms_norm_weight)(group); }
void rms_norm_add(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(rms_norm_add)(group); }
void rms_norm_add_norm(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(rms_norm_add_norm)(group); }
void add_rms_norm(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(add_rms_norm)(group); }
}  // namespace decant::cpu
#endif
