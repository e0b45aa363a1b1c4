// The algebra of the online softmax: sums of weighted values relative to a maximum, and how two of
// them are added. Base 2. For CUDA kernels; compiled by NVRTC, so no standard headers.
#ifndef DECANT_KERNELS_SOFTMAX_SUM_CUH_
#define DECANT_KERNELS_SOFTMAX_SUM_CUH_

namespace decant {

// The greatest score of no key: finite, so that differences of two are no NaN.
inline constexpr float kNoMax = -1.70141173e38f;

__device__ inline float minus_infinity() { return __uint_as_float(0xFF800000u); }

__device__ inline float exp2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline float reciprocal_or_zero(float sum) {
  float r;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(sum));
  return sum == 0 ? 0 : r;
}

__device__ inline float4 scaled(float4 x, float by) {
  return {x.x * by, x.y * by, x.z * by, x.w * by};
}
// sum += x * weight
__device__ inline void accumulate(float4& sum, float4 x, float weight) {
  sum = {fmaf(x.x, weight, sum.x), fmaf(x.y, weight, sum.y), fmaf(x.z, weight, sum.z),
         fmaf(x.w, weight, sum.w)};
}

// The triple of the online softmax in base 2: max is in units of log2, o and sum are relative to
// it.
struct SoftmaxSum {
  float max, sum;
};

// A partial result of some dims: O relative to the maximum, and the state.
struct Partial {
  float4 o;
  SoftmaxSum state;
};

// The greatest of a warp; no NaN. Integers that are ordered as f32 are take one instruction.
__device__ inline float warp_max(float x) {
  const auto ordered = [](int32_t bits) { return bits ^ (bits >> 31 & INT32_MAX); };
  return __int_as_float(ordered(__reduce_max_sync(~0u, ordered(__float_as_int(x)))));
}

// Sum over the lanes that differ in the bits from kFirst on. Those that differ in the others have
// the same states.
template <uint32_t kFirst>
__device__ inline Partial reduce_lanes(Partial p) {
  const float largest = warp_max(p.state.max);
  const float weight = exp2_approx(p.state.max - largest);
  p = {scaled(p.o, weight), {largest, p.state.sum * weight}};
#pragma unroll
  for (uint32_t mask = kFirst; mask < 32; mask *= 2) {
    p.o.x += __shfl_xor_sync(~0u, p.o.x, mask);
    p.o.y += __shfl_xor_sync(~0u, p.o.y, mask);
    p.o.z += __shfl_xor_sync(~0u, p.o.z, mask);
    p.o.w += __shfl_xor_sync(~0u, p.o.w, mask);
    p.state.sum += __shfl_xor_sync(~0u, p.state.sum, mask);
  }
  return p;
}

}  // namespace decant

#endif  // DECANT_KERNELS_SOFTMAX_SUM_CUH_
