// The query heads of one KV head as operands of a warp's products. For CUDA kernels; compiled by
// NVRTC, so no standard headers.
#ifndef DECANT_KERNELS_ATTENTION_QUERY_CUH_
#define DECANT_KERNELS_ATTENTION_QUERY_CUH_

#include "decant/kernels/mma.cuh"

namespace decant {

inline constexpr uint32_t kStripDims = 64;  // dims of a warp

__device__ inline float4 load_f32(const float4* from) {
  float4 r;
  asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(r.x), "=f"(r.y), "=f"(r.z), "=f"(r.w)
               : "l"(from));
  return r;
}
// What uses x afterwards stays behind the volatile loads written before.
__device__ inline void pin(float4& x) {
  asm volatile("" : "+f"(x.x), "+f"(x.y), "+f"(x.z), "+f"(x.w));
}

// A strip of up to kHeads heads: lane (g, t) = (lane / 4, lane % 4) has dims 8t..8t+7 of both
// halves of the strip, of the head in column g of each tile of 8 columns. Each value is a sum of
// two f16; with at most 4 heads both lie in the columns of one product, high halves in 0 to 3.
template <uint32_t kDim, uint32_t kHeads>
class AttentionQuery {
 public:
  static constexpr bool kShared = kHeads <= 4;
  static constexpr uint32_t kTiles = kHeads <= 8 ? 1 : kHeads / 8;
  static constexpr uint32_t kParts = kShared ? 1 : 2 * kTiles;  // operands: (tile, half)

  // Loads strip `strip` of q [heads, kDim] with load(const float4*); columns beyond `heads` are
  // zero.
  template <typename Load>
  __device__ void load(const float* q, uint32_t heads, uint32_t strip, const Load& load) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
      const uint32_t head = kShared ? g % 4 : tile * 8 + g;
      const float4* row =
          reinterpret_cast<const float4*>(q + head * kDim + strip * kStripDims + t * 8);
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i)
        f32_[tile][i] = head < heads ? load(row + i / 2 * 8 + i % 2) : float4{0, 0, 0, 0};
    }
  }

  // Makes the operands of what was loaded. Each head is scaled by a power of two, so that f16 holds
  // it whatever its magnitude; back() undoes it and multiplies by `scale`.
  __device__ void split(float scale) {
    const uint32_t g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
      float largest = 0;
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        pin(f32_[tile][i]);
        const float4 x = f32_[tile][i];
        largest =
            fmaxf(largest, fmaxf(fmaxf(fabsf(x.x), fabsf(x.y)), fmaxf(fabsf(x.z), fabsf(x.w))));
      }
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
      const uint32_t exponent = min(max(__float_as_uint(largest) >> 23, 16u), 254u);
      const float up = __uint_as_float((267 - exponent) << 23);  // largest * up is in [2^13, 2^14)
      const float back = __uint_as_float((exponent - 13) << 23) * scale;
      back_[tile][0] = __shfl_sync(~0u, back, 8 * t);
      back_[tile][1] = __shfl_sync(~0u, back, 8 * t + 4);
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        const float4 x = f32_[tile][i];
        const uint32_t a = pack_f16(x.x * up, x.y * up), b = pack_f16(x.z * up, x.w * up);
        const uint32_t ra = pack_f16_rest(x.x * up, x.y * up, a),
                       rb = pack_f16_rest(x.z * up, x.w * up, b);
        if constexpr (kShared) {
          words_[0][2 * i] = g < 4 ? a : ra;
          words_[0][2 * i + 1] = g < 4 ? b : rb;
        } else {
          words_[2 * tile][2 * i] = a;
          words_[2 * tile][2 * i + 1] = b;
          words_[2 * tile + 1][2 * i] = ra;
          words_[2 * tile + 1][2 * i + 1] = rb;
        }
      }
    }
  }

  // Words 2i and 2i + 1 are the operand of product i of a strip.
  __device__ uint32_t word(uint32_t part, uint32_t i) const { return words_[part][i]; }
  // What scores of columns 2t and 2t + 1 of a tile are multiplied by.
  __device__ float back(uint32_t tile, uint32_t column) const { return back_[tile][column]; }

 private:
  float4 f32_[kTiles][4];
  uint32_t words_[kParts][8];
  float back_[kTiles][2];
};

}  // namespace decant

#endif  // DECANT_KERNELS_ATTENTION_QUERY_CUH_
