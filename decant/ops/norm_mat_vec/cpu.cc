// A group computes h, in its own scratch, and then some rows of one weight, or of two for gelu_mul.
// Bytes: the weights once; x, delta and the norms' weights (10 KB for 640 columns) come from the
// caches. h costs 0.3 us for 640 columns, rounding it to 8 bits 0.1, once a thread: its next groups
// find both in the scratch.
#include <algorithm>

#include "decant/core/dtype.h"
#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/kernels/mat_vec.h"
#include "decant/ops/norm_mat_vec/cpu.h"
#include "decant/ops/norm_mat_vec/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/norm_mat_vec/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/gelu-inl.h"
#include "decant/kernels/rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;

// x' and h, as ops/rms_norm computes them. x' goes to `x_sum`.
void normalize(const CpuGroup& group, float* HWY_RESTRICT x_sum, float* HWY_RESTRICT h) {
  const auto& p = group.params<NormMatVecParams>();
  const D d;
  const float* x = group.arg<const float>(1);
  if (p.has_delta) {
    const float* delta = group.arg<const float>(2);
    add_scaled_row(d, delta, inverse_rms(d, delta, p.cols, p.eps), group.arg<const float>(3), x,
                   x_sum, p.cols);
    x = x_sum;
  }
  scale_row(d, x, inverse_rms(d, x, p.cols, p.eps), group.arg<const float>(5), h, p.cols);
}

// out = gelu(gate) * up
void gelu_mul_rows(const float* gate, const float* up, float* out, size_t rows) {
  const D d;
  for_each_vector(d, rows, [&](size_t i, size_t count) HWY_ATTR {
    const auto g = gelu(d, load_row(d, gate + i, count));
    store_row(hn::Mul(g, load_row(d, up + i, count)), d, out + i, count);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(normalize);
HWY_EXPORT(gelu_mul_rows);

namespace {
void norm_mat_vec(const CpuGroup& group, bool q8) {
  const auto& p = group.params<NormMatVecParams>();
  const NormMatVecScratch layout(p, q8);
  const auto part = [&](uint32_t offset) {
    return reinterpret_cast<float*>(group.shared + offset);
  };
  float* const h = part(layout.h);
  float* const x_sum = part(layout.x);
  auto* const rounded = reinterpret_cast<Q8Chunk*>(group.shared + layout.rounded);
  if (!group.shared_kept) {
    HWY_DYNAMIC_DISPATCH(normalize)(group, x_sum, h);
    // The columns of a weight in a block format are a multiple of 32.
    if (q8 && p.cols % kQ8Elems == 0) round_to_q8(h, p.cols, rounded);
  }
  if (p.has_delta && group.group.x == 0) std::copy(x_sum, x_sum + p.cols, group.arg<float>(4));

  // The weight that this group belongs to.
  uint32_t which = 0, at = group.group.x;
  const auto groups_of = [&](uint32_t i) {
    return (p.rows[i] + p.group_rows[i] - 1) / p.group_rows[i];
  };
  while (!p.gelu_mul && at >= groups_of(which)) at -= groups_of(which++);
  const size_t begin = size_t{at} * p.group_rows[which];
  const size_t end = std::min<size_t>(begin + p.group_rows[which], p.rows[which]);
  const auto dtype_of = [&](uint32_t weight) { return static_cast<DType>(p.dtype[weight]); };
  const auto q8_job = [&](uint32_t weight, float* out) {
    return MatVecRowsQ8{.weight = group.arg<const std::byte>(6 + weight),
                        .cols = p.cols,
                        .begin = begin,
                        .end = end,
                        .x = rounded,
                        .out = out};
  };
  const auto multiply = [&](uint32_t weight, float* out) {
    const DType dtype = dtype_of(weight);
    if (q8 && is_x16(dtype)) return mat_vec_rows_x16(dtype, q8_job(weight, out));
    if (q8 && is_quantized(dtype)) return mat_vec_rows_q8(dtype, q8_job(weight, out));
    mat_vec_rows(dtype, {.weight = group.arg<const std::byte>(6 + weight),
                         .cols = p.cols,
                         .begin = begin,
                         .end = end,
                         .x = h,
                         .out = out,
                         .scratch = part(layout.mat_vec)});
  };
  float* out = group.arg<float>(9 + which) + begin;
  if (!p.gelu_mul) return multiply(which, out);
  if (q8 && is_x16(dtype_of(0)) && dtype_of(0) == dtype_of(1)) {
    MatVecRowsQ8 both = q8_job(0, part(layout.gate));
    both.other_weight = group.arg<const std::byte>(7);
    both.other_out = part(layout.up);
    mat_vec_rows_x16(dtype_of(0), both);
  } else {
    multiply(0, part(layout.gate));
    multiply(1, part(layout.up));
  }
  HWY_DYNAMIC_DISPATCH(gelu_mul_rows)(part(layout.gate), part(layout.up), out, end - begin);
}
}  // namespace

void norm_mat_vec(const CpuGroup& group) { norm_mat_vec(group, false); }
void norm_mat_vec_q8(const CpuGroup& group) { norm_mat_vec(group, true); }
}  // namespace decant::cpu
#endif
