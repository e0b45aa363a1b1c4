// Kernels with one bug each, all of kinds that are easy to write and hard to see. detectors_test.cc
// says what has to be found.
#include <metal_stdlib>
using namespace metal;

kernel void reads_past_the_end(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                               uint i [[thread_position_in_grid]]) {
  y[i] = x[i] + x[i + 1];  // line 8
}

kernel void overruns_threadgroup_memory(device float* y [[buffer(0)]],
                                        threadgroup float* shared [[threadgroup(0)]],
                                        uint i [[thread_index_in_threadgroup]]) {
  shared[i + 1] = 1;  // line 14
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = shared[i];
}

kernel void overruns_a_private_array(device float* y [[buffer(0)]],
                                     uint i [[thread_index_in_threadgroup]]) {
  float values[4] = {0, 1, 2, 3};
  y[i] = values[i / 8 + 1];  // line 22
}

kernel void barrier_in_a_branch(device float* y [[buffer(0)]],
                                uint i [[thread_index_in_threadgroup]]) {
  if (i < 40) threadgroup_barrier(mem_flags::mem_threadgroup);  // line 27
  y[i] = 1;
}

kernel void simd_sum_in_a_branch(device float* y [[buffer(0)]],
                                 uint i [[thread_index_in_threadgroup]]) {
  float sum = 0;
  if (i % 3 == 0) sum = simd_sum(1.0f);  // line 34
  y[i] = sum;
}

kernel void returns_before_simd_sum(device float* y [[buffer(0)]], constant uint& n [[buffer(1)]],
                                    uint i [[thread_index_in_threadgroup]]) {
  if (i >= n) return;
  y[i] = simd_sum(1.0f);  // line 41
}

kernel void shuffles_too_far(device float* y [[buffer(0)]],
                             uint i [[thread_index_in_threadgroup]]) {
  y[i] = simd_shuffle(1.0f, ushort(i + 1));  // line 46
}

kernel void reads_before_writing(device float* y [[buffer(0)]],
                                 uint i [[thread_index_in_threadgroup]]) {
  threadgroup float sums[32];
  if (i < 31) sums[i] = 1;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = sums[i];  // line 54
}

kernel void misaligned_vector(device const half* x [[buffer(0)]], device float4* y [[buffer(1)]],
                              uint i [[thread_position_in_grid]]) {
  y[i] = float4(*(device const half4*)(x + 4 * i + 1));  // line 59
}

kernel void divides_by_zero(device int* y [[buffer(0)]], constant int& n [[buffer(1)]],
                            uint i [[thread_position_in_grid]]) {
  y[i] = int(i) / n;  // line 64
}

// The sum of a group's threads by halving; without_barrier forgets that others still read.
template <bool with_barrier>
kernel void tree_sum(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                     threadgroup float* shared [[threadgroup(0)]],
                     uint i [[thread_index_in_threadgroup]]) {
  shared[i] = x[i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint step = 32; step > 0; step /= 2) {
    if (i < step) shared[i] += shared[i + step];  // line 75
    if (with_barrier) threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  if (i == 0) y[0] = shared[0];
}
template [[host_name("tree_sum")]] kernel void tree_sum<true>(
    device const float*, device float*, threadgroup float*, uint);
template [[host_name("tree_sum_without_barrier")]] kernel void tree_sum<false>(
    device const float*, device float*, threadgroup float*, uint);

// Lane 0 hands a value to the others: a simd operation brings the lanes together on some machines,
// but orders no memory.
kernel void hands_over_without_barrier(device float* y [[buffer(0)]],
                                       threadgroup float* shared [[threadgroup(0)]],
                                       uint lane [[thread_index_in_simdgroup]]) {
  if (lane == 0) shared[0] = 5;  // line 90
  y[lane] = simd_sum(1.0f) + shared[0];
}

kernel void barrier_of_the_wrong_kind(device float* y [[buffer(0)]],
                                      uint i [[thread_index_in_threadgroup]],
                                      uint n [[threads_per_threadgroup]]) {
  y[i] = float(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[n + i] = y[n - 1 - i];  // line 99
}

kernel void groups_share_an_element(device float* y [[buffer(0)]],
                                    uint group [[threadgroup_position_in_grid]]) {
  y[group / 2] += 1;  // line 104
}
