// A threadgroup of eight simdgroups computes h for itself, in threadgroup memory, then 32 rows,
// four a simdgroup. 16 cols bytes of activations and weights of norms come from the cache for each
// group, beside 32 rows of weights from memory (q5_0: 22 cols bytes), which are the limit.
#include <metal_stdlib>

#include "decant/kernels/metal/gelu.h"
#include "decant/kernels/metal/mat_vec.h"
#include "decant/kernels/metal/reduce.h"
#include "decant/ops/norm_mat_vec/params.h"

#pragma METAL fp contract(off)

using namespace metal;
using namespace decant;

// Four rows of any format times h.
static float4 rows_times(uint dtype, device const uchar* weight, uint first_row, uint rows,
                         uint cols, threadgroup const float* h, uint lane) {
  switch (dtype) {
#define DECANT_CASE(format, Format) \
  case kDType##Format:              \
    return mat_vec_rows<Row##Format>(weight, first_row, rows, cols, h, lane);
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_CASE)
#undef DECANT_CASE
    default:
      return float4(0);
  }
}

// h = norm(x') * norm_weight. The group that is told to writes x'.
static void compute_h(constant NormMatVecParams& params, device const float* x,
                      device const float* delta, device const float* delta_weight,
                      device float* x_out, device const float* norm_weight, threadgroup float* h,
                      bool writes, Threadgroup threads) {
  const uint cols = params.cols;
  float delta_inv = 0;
  if (params.has_delta) delta_inv = inverse_rms(threads, delta, cols, params.eps);
  for (uint i = threads.thread_index; i < cols; i += threads.threads()) {
    float value = x[i];
    if (params.has_delta) {
      value = value + delta[i] * delta_inv * delta_weight[i];
      if (writes) x_out[i] = value;
    }
    h[i] = value;
  }
  // A thread reads what it wrote itself.
  const float inv =
      inverse_rms(threads, static_cast<threadgroup const float*>(h), cols, params.eps);
  for (uint i = threads.thread_index; i < cols; i += threads.threads())
    h[i] = h[i] * inv * norm_weight[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

kernel void norm_mat_vec(
    constant NormMatVecParams& params [[buffer(0)]], device const float* x [[buffer(1)]],
    device const float* delta [[buffer(2)]], device const float* delta_weight [[buffer(3)]],
    device float* x_out [[buffer(4)]], device const float* norm_weight [[buffer(5)]],
    device const uchar* weight0 [[buffer(6)]], device const uchar* weight1 [[buffer(7)]],
    device const uchar* weight2 [[buffer(8)]], device float* out0 [[buffer(9)]],
    device float* out1 [[buffer(10)]], device float* out2 [[buffer(11)]],
    threadgroup float* h [[threadgroup(0)]], uint group [[threadgroup_position_in_grid]],
    uint thread_index [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float scratch[32];
  compute_h(params, x, delta, delta_weight, x_out, norm_weight, h, group == 0,
            Threadgroup{thread_index, lane, simdgroup, simdgroups, scratch});
  const uint first = simdgroup * kMatVecRows;
  if (params.gelu_mul) {
    const uint row = group * params.group_rows[0] + first, rows = params.rows[0];
    const float4 gate = rows_times(params.dtype[0], weight0, row, rows, params.cols, h, lane);
    const float4 up = rows_times(params.dtype[1], weight1, row, rows, params.cols, h, lane);
    if (lane < kMatVecRows && row + lane < rows) out0[row + lane] = gelu(gate[lane]) * up[lane];
    return;
  }
  // Which weight this group belongs to.
  uint i = 0;
  for (uint groups = (params.rows[0] - 1) / params.group_rows[0] + 1; group >= groups;
       groups = (params.rows[i] - 1) / params.group_rows[i] + 1) {
    group -= groups;
    ++i;
  }
  device const uchar* weight = i == 0 ? weight0 : i == 1 ? weight1 : weight2;
  device float* out = i == 0 ? out0 : i == 1 ? out1 : out2;
  const uint row = group * params.group_rows[i] + first, rows = params.rows[i];
  const float4 sums = rows_times(params.dtype[i], weight, row, rows, params.cols, h, lane);
  if (lane < kMatVecRows && row + lane < rows) out[row + lane] = sums[lane];
}
