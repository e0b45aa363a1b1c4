// Sums and maxima over a simdgroup or a whole threadgroup, and the root mean square of a row.
#ifndef DECANT_KERNELS_METAL_REDUCE_H_
#define DECANT_KERNELS_METAL_REDUCE_H_

#include <metal_stdlib>

namespace decant {

// The threads that share a row: one simdgroup.
struct Simdgroup {
  uint thread_index;  // the lane
  uint threads() const { return 32; }
  float sum(float v) const { return metal::simd_sum(v); }
  float max(float v) const { return metal::simd_max(v); }
};

// Or all simdgroups of a threadgroup, at most 32. `scratch` has 32 elements. Every thread of the
// group calls; every thread gets the result.
struct Threadgroup {
  uint thread_index;
  uint lane, simdgroup, simdgroups;
  threadgroup float* scratch;
  uint threads() const { return simdgroups * 32; }

  float sum(float v) const {
    exchange(metal::simd_sum(v));
    return metal::simd_sum(lane < simdgroups ? scratch[lane] : 0.0f);
  }
  float max(float v) const {
    exchange(metal::simd_max(v));
    return metal::simd_max(scratch[lane < simdgroups ? lane : 0]);
  }

 private:
  void exchange(float v) const {
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);  // the last result was read
    if (lane == 0) scratch[simdgroup] = v;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  }
};

// Rows whose squares leave the range of f32: squares of x / max|x|, and a hypotenuse that overflows
// only if it has to. Metal has no double.
template <class Threads, class Row>
float inverse_rms_scaled(Threads threads, Row x, uint row_elems, float eps) {
  float largest = 0;
  for (uint i = threads.thread_index; i < row_elems; i += threads.threads())
    largest = metal::max(largest, metal::fabs(x[i]));
  largest = threads.max(largest);
  float squares = 0;
  for (uint i = threads.thread_index; i < row_elems; i += threads.threads()) {
    const float scaled = x[i] / (largest > 0 ? largest : 1.0f);
    squares = metal::fma(scaled, scaled, squares);
  }
  const float a = largest * metal::sqrt(threads.sum(squares) / float(row_elems));
  const float b = metal::sqrt(eps);
  const float low = metal::min(a, b), high = metal::max(a, b);
  // Of an infinite row nothing finite stays.
  return high > FLT_MAX ? 0.0f : 1.0f / (high * metal::sqrt(1.0f + (low / high) * (low / high)));
}

// 1 / sqrt(mean(x^2) + eps) of a row in device or threadgroup memory. All threads call and get it.
// The order of the additions depends on the row's length and the number of threads alone.
template <class Threads, class Row>
float inverse_rms(Threads threads, Row x, uint row_elems, float eps) {
  float squares = 0;
  for (uint i = threads.thread_index; i < row_elems; i += threads.threads())
    squares = metal::fma(x[i], x[i], squares);
  const float sum = threads.sum(squares);
  if (sum != sum) return sum;
  // Below 1e-30 squares may have been denormal. The same way for all threads.
  if (sum >= 1e-30f && sum <= 3e38f) return 1.0f / metal::sqrt(sum / float(row_elems) + eps);
  return inverse_rms_scaled(threads, x, row_elems, eps);
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_REDUCE_H_
