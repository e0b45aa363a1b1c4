// Walking a row four elements at a time by a block of threads, and its root mean square: rows-inl.h
// for CUDA. Compiled at run time, so no standard headers.
#ifndef DECANT_KERNELS_ROWS_CUH_
#define DECANT_KERNELS_ROWS_CUH_

namespace decant {

// --- Elements: f32, and f16 and bf16 as types of their own.

struct F16 {
  uint16_t bits;
};
struct BF16 {
  uint16_t bits;
};

__device__ inline float widen(float x) { return x; }
__device__ inline float widen(F16 x) {
  float r;
  asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x.bits));
  return r;
}
__device__ inline float widen(BF16 x) { return __uint_as_float(uint32_t{x.bits} << 16); }

__device__ inline void narrow(float x, float& to) { to = x; }
__device__ inline void narrow(float x, F16& to) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(to.bits) : "f"(x));
}
__device__ inline void narrow(float x, BF16& to) {
  const uint32_t bits = __float_as_uint(x);
  to.bits = static_cast<uint16_t>(x != x ? bits >> 16 | 0x40u
                                         : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

// Four elements, loaded and stored at once.
template <typename T>
struct alignas(4 * sizeof(T)) Four {
  T x[4];
};
template <typename T>
__device__ bool is_four_aligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(Four<T>) == 0;
}

// Up to four values; what lies behind `count` is neither read nor written, and loads as 0.
template <typename T>
__device__ float4 load_row(const T* from, uint64_t count) {
  float v[4] = {};
  if (count >= 4 && is_four_aligned(from)) {
    const auto four = *reinterpret_cast<const Four<T>*>(from);
    for (uint32_t j = 0; j < 4; ++j) v[j] = widen(four.x[j]);
  } else {
    for (uint32_t j = 0; j < 4; ++j)
      if (j < count) v[j] = widen(from[j]);
  }
  return {v[0], v[1], v[2], v[3]};
}
template <typename T>
__device__ void store_row(float4 value, T* to, uint64_t count) {
  const float v[4] = {value.x, value.y, value.z, value.w};
  Four<T> four;
  for (uint32_t j = 0; j < 4; ++j) narrow(v[j], four.x[j]);
  if (count >= 4 && is_four_aligned(to)) {
    *reinterpret_cast<Four<T>*>(to) = four;
  } else {
    for (uint32_t j = 0; j < 4; ++j)
      if (j < count) to[j] = four.x[j];
  }
}

// Calls body(i, count) for this thread's fours of a row; count is what is left of the row from i
// on. The block's threads take neighbouring fours.
template <typename Body>
__device__ void for_each_four(uint64_t row_elems, const Body& body) {
  for (uint64_t i = threadIdx.x * 4; i < row_elems; i += blockDim.x * 4) body(i, row_elems - i);
}

template <typename F>
__device__ float4 each(float4 a, const F& f) {
  return {f(a.x), f(a.y), f(a.z), f(a.w)};
}
__device__ inline float4 operator+(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}
__device__ inline float4 operator*(float4 a, float4 b) {
  return {a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w};
}
__device__ inline float4 operator*(float4 a, float b) {
  return {a.x * b, a.y * b, a.z * b, a.w * b};
}

// --- Sums in a fixed order, of blocks of whole warps; all threads get the result.

template <typename T>
__device__ T warp_total(T value) {
  for (uint32_t mask = 16; mask > 0; mask /= 2) value += __shfl_xor_sync(~0u, value, mask);
  return value;
}

template <typename T>
__device__ T block_total(T value) {
  __shared__ T warps[32];
  const uint32_t lane = threadIdx.x % 32;
  value = warp_total(value);
  __syncthreads();  // the last call's readers
  if (lane == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_total(lane < blockDim.x / 32 ? warps[lane] : T{0});
}

// 1 / sqrt(mean(x^2) + eps) of a row, given this thread's sum of squares by `total` (of a warp or a
// block). `again(sum)` calls sum(x) for this thread's elements once more: rows whose squares leave
// the range of f32 are summed in double.
__device__ inline float square_sum(float4 v, float sum) {
  return fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, sum))));
}
__device__ inline double square_sum(float4 v, double sum) {
  const double x = v.x, y = v.y, z = v.z, w = v.w;
  return fma(w, w, fma(z, z, fma(y, y, fma(x, x, sum))));
}

__device__ inline float inverse_rms(const float* x, uint32_t row_elems, float eps) {
  float sum = 0;
  for_each_four(row_elems,
                [&](uint64_t i, uint64_t count) { sum = square_sum(load_row(x + i, count), sum); });
  sum = block_total(sum);
  // Below 1e-30 squares may have been denormal; a NaN ends here too and comes out as one.
  if (!(sum >= 1e-30f && sum <= 3e38f)) {
    double exact = 0;
    for_each_four(row_elems, [&](uint64_t i, uint64_t count) {
      exact = square_sum(load_row(x + i, count), exact);
    });
    return static_cast<float>(1 / sqrt(block_total(exact) / row_elems + double{eps}));
  }
  return 1.0f / sqrtf(sum / static_cast<float>(row_elems) + eps);
}

}  // namespace decant

#endif  // DECANT_KERNELS_ROWS_CUH_
