// Activations as integers, to multiply weights of block formats. For CUDA kernels; compiled by
// NVRTC, so no standard headers.
//
// 32 of them share a scale, and each is 24 bits, 65536 hi + 256 mid + lo with three signed bytes,
// for which there is an instruction that adds four products (dp4a). The scale is a power of two, so
// that nothing but the integer is rounded, to 2^-23 of the greatest of the 32 at most, about what
// f32 does. (With 16 bits a whole model's logits were 2e-3 off.)
#ifndef DECANT_KERNELS_ACTIVATIONS32_CUH_
#define DECANT_KERNELS_ACTIVATIONS32_CUH_

namespace decant {

// 32 activations: words of four bytes each, and their sums times the scale.
struct Activations32 {
  uint4 hi[2], mid[2], lo[2];
  float scale;
  float sum;      // of all 32
  float sums[2];  // of each 16
};

// One quad of 32 activations, as integers.
struct QuadOf32 {
  uint32_t hi, mid, lo;
  float scale;
  int sums[2];  // in the first quad's lane: of each 16 activations

  __device__ float4 scales() const {
    const float sum0 = static_cast<float>(sums[0]) * scale;
    const float sum1 = static_cast<float>(sums[1]) * scale;
    return {scale, sum0 + sum1, sum0, sum1};
  }
};

// Called by a warp: eight neighbouring lanes have the quads of 32 activations. All kCount at once,
// since every step waits for the one before; without a division, for the same reason.
template <uint32_t kCount>
__device__ inline void quantize_quads(const float4 (&v)[kCount], QuadOf32 (&result)[kCount]) {
  // As bits, so that a NaN is greater than an infinity, which is greater than all numbers.
  uint32_t bits[kCount];
#pragma unroll
  for (uint32_t s = 0; s < kCount; ++s)
    bits[s] = max(max(__float_as_uint(fabsf(v[s].x)), __float_as_uint(fabsf(v[s].y))),
                  max(__float_as_uint(fabsf(v[s].z)), __float_as_uint(fabsf(v[s].w))));
#pragma unroll
  for (uint32_t mask = 1; mask < 8; mask *= 2)
#pragma unroll
    for (uint32_t s = 0; s < kCount; ++s)
      bits[s] = max(bits[s], __shfl_xor_sync(~0u, bits[s], mask));
  int sum[kCount];
#pragma unroll
  for (uint32_t s = 0; s < kCount; ++s) {
    const float4 x = v[s];
    const bool finite = bits[s] < 0x7F800000u;
    // up takes the largest to at most 127 * 65536, which has this mantissa and 127 + 22 for an
    // exponent; numbers for which there is no such power of two vanish beside any other.
    constexpr uint32_t kGreatestMantissa = 0x7E0000;
    const uint32_t exponent = (bits[s] + (0x7FFFFF - kGreatestMantissa)) >> 23;
    const bool some = finite && exponent > 24;
    const float up = some ? __uint_as_float((127 + 127 + 22 - exponent) << 23) : 0.0f;
    const float scale = some     ? __uint_as_float((exponent - 22) << 23)
                        : finite ? 0.0f
                                 : __uint_as_float(0x7FC00000u);
    const int q[4] = {__float2int_rn(x.x * up), __float2int_rn(x.y * up), __float2int_rn(x.z * up),
                      __float2int_rn(x.w * up)};
    // Bytes of q + 0x808080 are its signed bytes, each greater by 128.
    uint32_t t[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) t[i] = static_cast<uint32_t>(q[i]) + 0x808080u;
    const uint32_t low01 = __byte_perm(t[0], t[1], 0x5140), low23 = __byte_perm(t[2], t[3], 0x5140);
    const uint32_t high01 = __byte_perm(t[0], t[1], 0x0062),
                   high23 = __byte_perm(t[2], t[3], 0x0062);
    result[s].lo = __byte_perm(low01, low23, 0x5410) ^ 0x80808080u;
    result[s].mid = __byte_perm(low01, low23, 0x7632) ^ 0x80808080u;
    result[s].hi = __byte_perm(high01, high23, 0x5410) ^ 0x80808080u;
    result[s].scale = scale;
    sum[s] = q[0] + q[1] + (q[2] + q[3]);
  }
#pragma unroll
  for (uint32_t mask = 1; mask < 4; mask *= 2)
#pragma unroll
    for (uint32_t s = 0; s < kCount; ++s) sum[s] += __shfl_xor_sync(~0u, sum[s], mask);
#pragma unroll
  for (uint32_t s = 0; s < kCount; ++s) {
    result[s].sums[0] = sum[s];
    result[s].sums[1] = __shfl_xor_sync(~0u, sum[s], 4);
  }
}
__device__ inline QuadOf32 quantize_quad(float4 v) {
  const float4 one[1] = {v};
  QuadOf32 result[1];
  quantize_quads(one, result);
  return result[0];
}

// 65536 hi + 256 mid + lo; of 32 products the first does not fit an integer.
__device__ inline float sum_of_parts(int hi, int mid, int lo) {
  return fmaf(static_cast<float>(hi), 65536.0f, static_cast<float>(mid * 256 + lo));
}

__device__ inline uint32_t word_of(const uint4 (&v)[2], uint32_t i) {
  const uint4& part = v[i / 4];
  return i % 4 == 0 ? part.x : i % 4 == 1 ? part.y : i % 4 == 2 ? part.z : part.w;
}

}  // namespace decant

#endif  // DECANT_KERNELS_ACTIVATIONS32_CUH_
