// A vector that all threads of a block multiply, in shared memory. For CUDA kernels; compiled by
// NVRTC, so no standard headers.
#ifndef DECANT_KERNELS_VECTOR_IN_SHARED_CUH_
#define DECANT_KERNELS_VECTOR_IN_SHARED_CUH_

#include "decant/kernels/activations32.cuh"
#include "decant/kernels/ptx.cuh"

namespace decant {

constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

// As weight_dot.cuh wants it. Planes of 16 bytes, so that lanes with
// neighbouring items read neighbouring banks.
template <uint32_t kCols, bool kIntegers, bool kFloats>
struct VectorInShared {
  static constexpr uint32_t kItems = ceil_div(kCols, 32);
  static constexpr uint32_t kChunks =
      ceil_div(kCols, 128);  // 128 columns: what a warp puts at once

  uint4 words[kIntegers ? 6 * kItems : 1];  // hi 0 to 15, hi 16 to 31, mid, mid, lo, lo
  float4 scales[kIntegers ? kItems : 1];    // scale, sum, sums
  float4 floats[kFloats ? 8 * kItems : 1];

  // Called by a warp: lane i has columns 128 chunks[s] + 4 i to + 3, zeros beyond the last one.
  template <uint32_t kCount>
  __device__ void put(const uint32_t (&chunks)[kCount], const float4 (&v)[kCount]) {
    const uint32_t lane = threadIdx.x % 32, quad = lane % 8;
    if constexpr (kFloats) {
#pragma unroll
      for (uint32_t s = 0; s < kCount; ++s) {
        const uint32_t item = chunks[s] * 4 + lane / 8;
        if (item < kItems) floats[quad * kItems + item] = v[s];
      }
    }
    if constexpr (kIntegers) {
      QuadOf32 q[kCount];
      quantize_quads(v, q);
#pragma unroll
      for (uint32_t s = 0; s < kCount; ++s) {
        const uint32_t item = chunks[s] * 4 + lane / 8;
        if (item >= kItems) continue;
        uint32_t* to =
            reinterpret_cast<uint32_t*>(words) + (quad / 4 * kItems + item) * 4 + quad % 4;
        to[0] = q[s].hi;
        to[8 * kItems] = q[s].mid;
        to[16 * kItems] = q[s].lo;
        if (quad == 0) scales[item] = q[s].scales();
      }
    }
  }

  __device__ Activations32 integers(uint32_t item) const {
    const float4 s = scales[item];
    return {{words[item], words[kItems + item]},
            {words[2 * kItems + item], words[3 * kItems + item]},
            {words[4 * kItems + item], words[5 * kItems + item]},
            s.x,
            s.y,
            {s.z, s.w}};
  }
};

// Columns 4 i to 4 i + 3 of a vector, zeros beyond the last one. Fresh: of another kernel's output.
template <uint32_t kCols, bool kFresh = true>
__device__ inline float4 load_quad(const float* from, uint32_t i) {
  float4 v{0, 0, 0, 0};
  const auto load = [](auto* at) {
    if constexpr (kFresh)
      return load_fresh(at);
    else
      return *at;
  };
  if constexpr (kCols % 4 == 0) {
    if (4 * i < kCols) v = load(reinterpret_cast<const float4*>(from) + i);
  } else {
    if (4 * i < kCols) v.x = load(from + 4 * i);
    if (4 * i + 1 < kCols) v.y = load(from + 4 * i + 1);
    if (4 * i + 2 < kCols) v.z = load(from + 4 * i + 2);
    if (4 * i + 3 < kCols) v.w = load(from + 4 * i + 3);
  }
  return v;
}

// Puts another kernel's output into `vector`. Called by all kThreads threads, which must meet
// before they read it.
template <uint32_t kCols, uint32_t kThreads, typename Vector>
__device__ inline void put_vector(Vector& vector, const float* from) {
  constexpr uint32_t kWarps = kThreads / 32, kOwn = ceil_div(Vector::kChunks, kWarps);
  uint32_t chunks[kOwn];
  float4 quads[kOwn];
#pragma unroll
  for (uint32_t s = 0; s < kOwn; ++s) {
    chunks[s] = threadIdx.x / 32 + s * kWarps;
    quads[s] = load_quad<kCols>(from, chunks[s] * 32 + threadIdx.x % 32);
  }
  if (chunks[0] < Vector::kChunks) vector.put(chunks, quads);
}

}  // namespace decant

#endif  // DECANT_KERNELS_VECTOR_IN_SHARED_CUH_
