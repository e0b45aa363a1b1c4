// Dot products of 32 weights of any format, in shared memory, with 32 activations. For CUDA
// kernels; compiled by NVRTC, so no standard headers. The formats are those of
// kernels/block_formats.
//
// Block formats meet their activations as integers (activations32.cuh), whose sums are exact.
// Offsets and minimums of a format cost one multiply-add, with the activations' sums. Plain formats
// multiply in f32.
#ifndef DECANT_KERNELS_WEIGHT_DOT_CUH_
#define DECANT_KERNELS_WEIGHT_DOT_CUH_

#include "decant/kernels/activations32.cuh"
#include "decant/kernels/ptx.cuh"
#include "decant/kernels/weight_format.h"

namespace decant {

// 4 kWords bytes of shared memory from an address that is a multiple of kAlign; with 2, reads up to
// the word that follows them.
template <uint32_t kAlign, uint32_t kWords>
__device__ inline void load_words(const uint8_t* from, uint32_t (&to)[kWords]) {
  if constexpr (kAlign == 16 && kWords % 4 == 0) {
    const uint4* quads = reinterpret_cast<const uint4*>(from);
#pragma unroll
    for (uint32_t i = 0; i < kWords / 4; ++i) {
      const uint4 q = quads[i];
      to[4 * i] = q.x, to[4 * i + 1] = q.y, to[4 * i + 2] = q.z, to[4 * i + 3] = q.w;
    }
  } else if constexpr (kAlign >= 4) {
#pragma unroll
    for (uint32_t i = 0; i < kWords; ++i) to[i] = reinterpret_cast<const uint32_t*>(from)[i];
  } else {
    const uint64_t address = reinterpret_cast<uint64_t>(from);
    const uint32_t shift = (address & 2) * 8;
    const uint32_t* words = reinterpret_cast<const uint32_t*>(address & ~uint64_t{3});
    uint32_t word = words[0];
#pragma unroll
    for (uint32_t i = 0; i < kWords; ++i) {
      const uint32_t next = words[i + 1];
      to[i] = __funnelshift_r(word, next, shift);
      word = next;
    }
  }
}
__device__ inline float load_f16(const uint8_t* from) {
  return f32_of_f16(*reinterpret_cast<const uint16_t*>(from));
}

// 32 weights of a block format as integers: weight = scale q - min, in two halves of 16 that may
// have a scale and a minimum each.
struct Weights32 {
  uint32_t q[8];  // 4 bytes each, signed
  float scale[2], min[2];

  __device__ void set(float one_scale, float one_min) {
    scale[0] = scale[1] = one_scale;
    min[0] = min[1] = one_min;
  }
};

// WeightBlock<format>::unpack(block, part): weights 32 part to 32 part + 31 of a block. kHalves:
// the halves differ. kHasMin: there are minimums.
template <uint32_t kFormat>
struct WeightBlock;

// Bit 0 to 3 of `bits` as bit 4 of four bytes.
__device__ inline uint32_t bits_to_bit4(uint32_t bits) {
  return (bits & 15) * 0x02040810u & 0x10101010u;
}

// q4_0, q4_1, q5_0, q5_1: byte i of qs holds weights i and i + 16.
template <bool kFive, uint32_t kAlign>
__device__ inline void unpack_nibbles(const uint8_t* qs, uint32_t qh, Weights32& w) {
  uint32_t words[4];
  load_words<kAlign>(qs, words);
#pragma unroll
  for (uint32_t i = 0; i < 4; ++i) {
    w.q[i] = words[i] & 0x0F0F0F0Fu;
    w.q[i + 4] = words[i] >> 4 & 0x0F0F0F0Fu;
    if constexpr (kFive) {
      w.q[i] |= bits_to_bit4(qh >> (4 * i));
      w.q[i + 4] |= bits_to_bit4(qh >> (4 * i + 16));
    }
  }
}

template <>
struct WeightBlock<kFormatQ4_0> {
  static constexpr bool kHalves = false, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t) {
    Weights32 w;
    unpack_nibbles<false, 2>(block + 2, 0, w);
    const float d = load_f16(block);
    w.set(d, 8 * d);
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ4_1> {
  static constexpr bool kHalves = false, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t) {
    Weights32 w;
    unpack_nibbles<false, 4>(block + 4, 0, w);
    w.set(load_f16(block), -load_f16(block + 2));
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ5_0> {
  static constexpr bool kHalves = false, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t) {
    Weights32 w;
    uint32_t qh[1];
    load_words<2>(block + 2, qh);
    unpack_nibbles<true, 2>(block + 6, qh[0], w);
    const float d = load_f16(block);
    w.set(d, 16 * d);
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ5_1> {
  static constexpr bool kHalves = false, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t) {
    Weights32 w;
    uint32_t qh[1];
    load_words<4>(block + 4, qh);
    unpack_nibbles<true, 4>(block + 8, qh[0], w);
    w.set(load_f16(block), -load_f16(block + 2));
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ8_0> {
  static constexpr bool kHalves = false, kHasMin = false;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t) {
    Weights32 w;
    load_words<2>(block + 2, w.q);
    w.set(load_f16(block), 0);
    return w;
  }
};

// The k formats: 256 weights, part = 4 h + j of the block's description.
template <>
struct WeightBlock<kFormatQ2_K> {
  static constexpr bool kHalves = true, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t part) {
    Weights32 w;
    load_words<4>(block + 16 + part / 4 * 32, w.q);
#pragma unroll
    for (uint32_t& q : w.q) q = q >> (part % 4 * 2) & 0x03030303u;
    const uint32_t packed = reinterpret_cast<const uint16_t*>(block)[part];
    const float d = load_f16(block + 80), dmin = load_f16(block + 82);
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      w.scale[i] = d * static_cast<float>(packed >> (8 * i) & 15);
      w.min[i] = dmin * static_cast<float>(packed >> (8 * i + 4) & 15);
    }
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ3_K> {
  static constexpr bool kHalves = true, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t part) {
    Weights32 w;
    uint32_t high[8];
    load_words<2>(block + 32 + part / 4 * 32, w.q);
    load_words<2>(block, high);
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i)
      w.q[i] = (w.q[i] >> (part % 4 * 2) & 0x03030303u) | (high[i] >> part & 0x01010101u) << 2;
    const float d = load_f16(block + 108);
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t k = 2 * part + i;
      const uint32_t s =
          (block[96 + k % 8] >> (k / 8 * 4) & 15u) | (block[104 + k % 4] >> (k / 4 * 2) & 3u) << 4;
      w.scale[i] = d * static_cast<float>(static_cast<int>(s) - 32);
      w.min[i] = 4 * w.scale[i];
    }
    return w;
  }
};

// Scale and minimum of part k of q4_k and q5_k (scale_min_k4.h), from the 12 bytes at `packed`.
__device__ inline float2 scale_min_k4(const uint8_t* packed, uint32_t k) {
  const uint32_t a = packed[k % 4], b = packed[4 + k % 4], c = packed[8 + k % 4];
  const bool low = k < 4;
  const uint32_t scale = low ? a & 63 : (c & 15) | (a >> 6) << 4;
  const uint32_t min = low ? b & 63 : c >> 4 | (b >> 6) << 4;
  return {static_cast<float>(scale), static_cast<float>(min)};
}

template <>
struct WeightBlock<kFormatQ4_K> {
  static constexpr bool kHalves = false, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t part) {
    Weights32 w;
    load_words<16>(block + 16 + part / 2 * 32, w.q);
#pragma unroll
    for (uint32_t& q : w.q) q = q >> (part % 2 * 4) & 0x0F0F0F0Fu;
    const float2 packed = scale_min_k4(block + 4, part);
    w.set(load_f16(block) * packed.x, load_f16(block + 2) * packed.y);
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ5_K> {
  static constexpr bool kHalves = false, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t part) {
    Weights32 w;
    uint32_t high[8];
    load_words<16>(block + 48 + part / 2 * 32, w.q);
    load_words<16>(block + 16, high);
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i)
      w.q[i] = (w.q[i] >> (part % 2 * 4) & 0x0F0F0F0Fu) | (high[i] >> part & 0x01010101u) << 4;
    const float2 packed = scale_min_k4(block + 4, part);
    w.set(load_f16(block) * packed.x, load_f16(block + 2) * packed.y);
    return w;
  }
};
template <>
struct WeightBlock<kFormatQ6_K> {
  static constexpr bool kHalves = true, kHasMin = true;
  __device__ static Weights32 unpack(const uint8_t* block, uint32_t part) {
    const uint32_t h = part / 4, j = part % 4;
    Weights32 w;
    uint32_t high[8];
    load_words<2>(block + h * 64 + j % 2 * 32, w.q);
    load_words<2>(block + 128 + h * 32, high);
#pragma unroll
    for (uint32_t i = 0; i < 8; ++i)
      w.q[i] = (w.q[i] >> (j / 2 * 4) & 0x0F0F0F0Fu) | (high[i] >> (2 * j) & 0x03030303u) << 4;
    const float d = load_f16(block + 208);
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      w.scale[i] = d * static_cast<float>(static_cast<int8_t>(block[192 + 2 * part + i]));
      w.min[i] = 32 * w.scale[i];
    }
    return w;
  }
};

// The product of 32 weights of a format with x. The sums of integers are exact.
template <uint32_t kFormat>
__device__ inline float dot_weights(const Weights32& w, const Activations32& x) {
  using Block = WeightBlock<kFormat>;
  int hi[2] = {0, 0}, mid[2] = {0, 0}, lo[2] = {0, 0};
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i) {
    const uint32_t half = Block::kHalves ? i / 4 : 0;
    hi[half] = __dp4a(static_cast<int>(w.q[i]), static_cast<int>(word_of(x.hi, i)), hi[half]);
    mid[half] = __dp4a(static_cast<int>(w.q[i]), static_cast<int>(word_of(x.mid, i)), mid[half]);
    lo[half] = __dp4a(static_cast<int>(w.q[i]), static_cast<int>(word_of(x.lo, i)), lo[half]);
  }
  const auto product = [&](uint32_t half) {
    return sum_of_parts(hi[half], mid[half], lo[half]) * x.scale;
  };
  float sum = w.scale[0] * product(0);
  if constexpr (Block::kHalves) {
    sum += w.scale[1] * product(1) - (w.min[0] * x.sums[0] + w.min[1] * x.sums[1]);
  } else if constexpr (Block::kHasMin) {
    sum -= w.min[0] * x.sum;
  }
  return sum;
}

// The same for weights 32 part to 32 part + 31 of a block.
template <uint32_t kFormat>
__device__ inline float dot_block(const uint8_t* block, uint32_t part, const Activations32& x) {
  return dot_weights<kFormat>(WeightBlock<kFormat>::unpack(block, part), x);
}

// Plain formats: `weights` are 32 of them (kCount at the end of a row), x the activations' quads,
// `stride` apart. Lanes begin at different quads so that their banks differ.
template <uint32_t kFormat>
__device__ inline float dot_plain(const uint8_t* weights, uint32_t count, const float4* x,
                                  uint32_t stride) {
  float sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < 8; ++i) {
    const float4 v = x[i * stride];
    const float part[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (uint32_t c = 0; c < 4; ++c) {
      const uint32_t at = 4 * i + c;
      if (at >= count) continue;
      float w;
      if constexpr (kFormat == kFormatF32)
        w = reinterpret_cast<const float*>(weights)[at];
      else if constexpr (kFormat == kFormatF16)
        w = f32_of_f16(reinterpret_cast<const uint16_t*>(weights)[at]);
      else
        w = __uint_as_float(uint32_t{reinterpret_cast<const uint16_t*>(weights)[at]} << 16);
      sum += w * part[c];
    }
  }
  return sum;
}

}  // namespace decant

#endif  // DECANT_KERNELS_WEIGHT_DOT_CUH_
