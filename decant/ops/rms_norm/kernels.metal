// Translation of cpu.cc: one threadgroup normalises one row. Every step rounds once, so that
// kernels of several steps give the bits of the single ones. A thread takes the same elements in
// every step, so steps need no barrier between them.
#include <metal_stdlib>

#include "decant/kernels/metal/reduce.h"
#include "decant/ops/rms_norm/params.h"

#pragma METAL fp contract(off)

using namespace metal;
using namespace decant;

// out = x * inv * weight
static void scale_row(device const float* x, float inv, device const float* weight,
                      device float* out, uint row_elems, Threadgroup threads) {
  for (uint i = threads.thread_index; i < row_elems; i += threads.threads())
    out[i] = x[i] * inv * weight[i];
}

// residual += x * inv * weight
static void add_scaled_row(device const float* x, float inv, device const float* weight,
                           device float* residual, uint row_elems, Threadgroup threads) {
  for (uint i = threads.thread_index; i < row_elems; i += threads.threads())
    residual[i] = residual[i] + x[i] * inv * weight[i];
}

kernel void rms_norm_f32(constant RmsNormParams& params [[buffer(0)]],
                         device const float* x [[buffer(1)]], device float* out [[buffer(2)]],
                         uint row [[threadgroup_position_in_grid]],
                         uint thread_index [[thread_index_in_threadgroup]],
                         uint lane [[thread_index_in_simdgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]],
                         uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float scratch[32];
  const Threadgroup threads{thread_index, lane, simdgroup, simdgroups, scratch};
  const uint n = params.row_elems;
  const ulong at = ulong(row) * n;
  const float inv = inverse_rms(threads, x + at, n, params.eps);
  for (uint i = thread_index; i < n; i += threads.threads()) out[at + i] = x[at + i] * inv;
}

kernel void rms_norm_weight_f32(
    constant RmsNormParams& params [[buffer(0)]], device const float* x [[buffer(1)]],
    device const float* weight [[buffer(2)]], device float* out [[buffer(3)]],
    uint row [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float scratch[32];
  const Threadgroup threads{thread_index, lane, simdgroup, simdgroups, scratch};
  const uint n = params.row_elems;
  const ulong at = ulong(row) * n;
  const float inv = inverse_rms(threads, x + at, n, params.eps);
  scale_row(x + at, inv, weight, out + at, n, threads);
}

kernel void rms_norm_add_f32(
    constant RmsNormParams& params [[buffer(0)]], device const float* x [[buffer(1)]],
    device const float* weight [[buffer(2)]], device float* residual [[buffer(3)]],
    uint row [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float scratch[32];
  const Threadgroup threads{thread_index, lane, simdgroup, simdgroups, scratch};
  const uint n = params.row_elems;
  const ulong at = ulong(row) * n;
  const float inv = inverse_rms(threads, x + at, n, params.eps);
  add_scaled_row(x + at, inv, weight, residual + at, n, threads);
}

kernel void rms_norm_add_norm_f32(
    constant RmsNormParams& params [[buffer(0)]], device const float* x [[buffer(1)]],
    device const float* weight [[buffer(2)]], device float* residual [[buffer(3)]],
    device const float* next_weight [[buffer(4)]], device float* out [[buffer(5)]],
    uint row [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float scratch[32];
  const Threadgroup threads{thread_index, lane, simdgroup, simdgroups, scratch};
  const uint n = params.row_elems;
  const ulong at = ulong(row) * n;
  const float inv = inverse_rms(threads, x + at, n, params.eps);
  add_scaled_row(x + at, inv, weight, residual + at, n, threads);
  const float next_inv = inverse_rms(threads, residual + at, n, params.next_eps);
  scale_row(residual + at, next_inv, next_weight, out + at, n, threads);
}

kernel void add_rms_norm_f32(
    constant RmsNormParams& params [[buffer(0)]], device const float* a [[buffer(1)]],
    device const float* b [[buffer(2)]], device float* sum [[buffer(3)]],
    device const float* weight [[buffer(4)]], device float* out [[buffer(5)]],
    uint row [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint lane [[thread_index_in_simdgroup]], uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup float scratch[32];
  const Threadgroup threads{thread_index, lane, simdgroup, simdgroups, scratch};
  const uint n = params.row_elems;
  const ulong at = ulong(row) * n;
  for (uint i = thread_index; i < n; i += threads.threads()) sum[at + i] = a[at + i] + b[at + i];
  const float inv = inverse_rms(threads, sum + at, n, params.eps);
  scale_row(sum + at, inv, weight, out + at, n, threads);
}
