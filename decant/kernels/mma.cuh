// Products of matrices on a warp, and f16 operands of them. For CUDA kernels; compiled by NVRTC, so
// no standard headers.
#ifndef DECANT_KERNELS_MMA_CUH_
#define DECANT_KERNELS_MMA_CUH_

namespace decant {

// Two f32 as f16, the first in the low half.
__device__ inline uint32_t pack_f16(float low, float high) {
  uint32_t r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
__device__ inline float2 unpack_f16(uint32_t packed) {
  float2 r;
  asm("{\n .reg .f16 a, b;\n mov.b32 {a, b}, %2;\n cvt.f32.f16 %0, a;\n cvt.f32.f16 %1, b;\n}"
      : "=f"(r.x), "=f"(r.y)
      : "r"(packed));
  return r;
}
// What rounding to f16 took away, as f16.
__device__ inline uint32_t pack_f16_rest(float low, float high, uint32_t rounded) {
  const float2 r = unpack_f16(rounded);
  return pack_f16(low - r.x, high - r.y);
}

// c += a b, 16 x 8 x 16.
__device__ inline void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                           uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline uint32_t word(const uint4& v, uint32_t i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

}  // namespace decant

#endif  // DECANT_KERNELS_MMA_CUH_
