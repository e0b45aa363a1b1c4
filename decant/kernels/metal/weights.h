// Weight formats in Metal: eight consecutive weights of a row at a time, which in every block
// format share their scales. A lane that reads eight leaves 256 to its simdgroup, a whole block of
// the k formats.
#ifndef DECANT_KERNELS_METAL_WEIGHTS_H_
#define DECANT_KERNELS_METAL_WEIGHTS_H_

#include <metal_stdlib>

#include "decant/kernels/block_formats/q2_k.h"
#include "decant/kernels/block_formats/q3_k.h"
#include "decant/kernels/block_formats/q4_0.h"
#include "decant/kernels/block_formats/q4_1.h"
#include "decant/kernels/block_formats/q4_k.h"
#include "decant/kernels/block_formats/q5_0.h"
#include "decant/kernels/block_formats/q5_1.h"
#include "decant/kernels/block_formats/q5_k.h"
#include "decant/kernels/block_formats/q6_k.h"
#include "decant/kernels/block_formats/q8_0.h"

// X(format, Format) for every format; `Format` as in RowFormat below. As in block_formats.h.
#define DECANT_FOR_EACH_WEIGHT_FORMAT(X) \
  X(f32, F32)                            \
  X(f16, F16)                            \
  X(bf16, BF16)                          \
  X(q4_0, Q4_0)                          \
  X(q4_1, Q4_1)                          \
  X(q5_0, Q5_0)                          \
  X(q5_1, Q5_1)                          \
  X(q8_0, Q8_0)                          \
  X(q2_k, Q2_K)                          \
  X(q3_k, Q3_K)                          \
  X(q4_k, Q4_K)                          \
  X(q5_k, Q5_K)                          \
  X(q6_k, Q6_K)

namespace decant {

// The values of DType (core/dtype.h, whose order they follow).
enum WeightDType : uint {
  kDTypeF32 = 0,
  kDTypeF16 = 1,
  kDTypeBF16 = 2,
  kDTypeQ4_0 = 10,
  kDTypeQ4_1,
  kDTypeQ5_0,
  kDTypeQ5_1,
  kDTypeQ8_0,
  kDTypeQ2_K,
  kDTypeQ3_K,
  kDTypeQ4_K,
  kDTypeQ5_K,
  kDTypeQ6_K,
};

inline float f16_value(ushort bits) { return float(as_type<half>(bits)); }

// Eight bytes; blocks, and every array in them, are aligned to two.
inline void load_bytes8(device const uint8_t* from, thread uint* to) {
  device const ushort* pairs = reinterpret_cast<device const ushort*>(from);
  for (uint i = 0; i < 4; ++i) {
    to[2 * i] = pairs[i] & 255u;
    to[2 * i + 1] = pairs[i] >> 8;
  }
}

// Scale and minimum of sub-block k; the layout is told in scale_min_k4.h.
inline metal::uint2 scale_min_k4(device const uint8_t* packed, uint k) {
  if (k < 4) return metal::uint2(packed[k] & 63u, packed[k + 4] & 63u);
  return metal::uint2((packed[k + 4] & 15u) | (uint(packed[k - 4]) >> 6 << 4),
                      (uint(packed[k + 4]) >> 4) | (uint(packed[k]) >> 6 << 4));
}

// Each has: Block, kBlockElems, and load8, which writes weights [i, i + 8) of a block, i a multiple
// of 8, to w.
struct WeightsQ4_0 {
  using Block = BlockQ4_0;
  enum : uint { kBlockElems = 32 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint bytes[8];
    load_bytes8(block.qs + i % 16, bytes);
    const float d = f16_value(block.d);
    const uint shift = i / 16 * 4;
    for (uint t = 0; t < 8; ++t) w[t] = d * float(int(bytes[t] >> shift & 15u) - 8);
  }
};

struct WeightsQ4_1 {
  using Block = BlockQ4_1;
  enum : uint { kBlockElems = 32 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint bytes[8];
    load_bytes8(block.qs + i % 16, bytes);
    const float d = f16_value(block.d), m = f16_value(block.m);
    const uint shift = i / 16 * 4;
    for (uint t = 0; t < 8; ++t) w[t] = d * float(bytes[t] >> shift & 15u) + m;
  }
};

struct WeightsQ5_0 {
  using Block = BlockQ5_0;
  enum : uint { kBlockElems = 32 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint bytes[8];
    load_bytes8(block.qs + i % 16, bytes);
    const float d = f16_value(block.d);
    const uint shift = i / 16 * 4, bits = block.qh[i / 8];
    for (uint t = 0; t < 8; ++t)
      w[t] = d * float(int((bytes[t] >> shift & 15u) | (bits >> t & 1u) << 4) - 16);
  }
};

struct WeightsQ5_1 {
  using Block = BlockQ5_1;
  enum : uint { kBlockElems = 32 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint bytes[8];
    load_bytes8(block.qs + i % 16, bytes);
    const float d = f16_value(block.d), m = f16_value(block.m);
    const uint shift = i / 16 * 4, bits = block.qh[i / 8];
    for (uint t = 0; t < 8; ++t)
      w[t] = d * float((bytes[t] >> shift & 15u) | (bits >> t & 1u) << 4) + m;
  }
};

struct WeightsQ8_0 {
  using Block = BlockQ8_0;
  enum : uint { kBlockElems = 32 };
  static void load8(device const Block& block, uint i, thread float* w) {
    const float d = f16_value(block.d);
    for (uint t = 0; t < 8; ++t) w[t] = d * float(block.qs[i + t]);
  }
};

struct WeightsQ2_K {
  using Block = BlockQ2_K;
  enum : uint { kBlockElems = 256 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint bytes[8];
    load_bytes8(block.qs + i / 128 * 32 + i % 32, bytes);
    const uint packed = block.scales[i / 16];
    const float scale = f16_value(block.d) * float(packed & 15u);
    const float min = f16_value(block.dmin) * float(packed >> 4);
    const uint shift = i % 128 / 32 * 2;
    for (uint t = 0; t < 8; ++t) w[t] = scale * float(bytes[t] >> shift & 3u) - min;
  }
};

struct WeightsQ3_K {
  using Block = BlockQ3_K;
  enum : uint { kBlockElems = 256 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint low[8], high[8];
    load_bytes8(block.qs + i / 128 * 32 + i % 32, low);
    load_bytes8(block.hmask + i % 32, high);
    const uint k = i / 16, shift = i % 128 / 32 * 2, bit = i / 32;
    const int s = int((block.scales[k % 8] >> (k / 8 * 4) & 15u) |
                      (block.scales[8 + k % 4] >> (k / 4 * 2) & 3u) << 4);
    const float scale = f16_value(block.d) * float(s - 32);
    for (uint t = 0; t < 8; ++t)
      w[t] = scale * float(int((low[t] >> shift & 3u) | (high[t] >> bit & 1u) << 2) - 4);
  }
};

struct WeightsQ4_K {
  using Block = BlockQ4_K;
  enum : uint { kBlockElems = 256 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint bytes[8];
    load_bytes8(block.qs + i / 64 * 32 + i % 32, bytes);
    const metal::uint2 packed = scale_min_k4(block.scales, i / 32);
    const float scale = f16_value(block.d) * float(packed.x);
    const float min = f16_value(block.dmin) * float(packed.y);
    const uint shift = i % 64 / 32 * 4;
    for (uint t = 0; t < 8; ++t) w[t] = scale * float(bytes[t] >> shift & 15u) - min;
  }
};

struct WeightsQ5_K {
  using Block = BlockQ5_K;
  enum : uint { kBlockElems = 256 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint low[8], high[8];
    load_bytes8(block.qs + i / 64 * 32 + i % 32, low);
    load_bytes8(block.qh + i % 32, high);
    const metal::uint2 packed = scale_min_k4(block.scales, i / 32);
    const float scale = f16_value(block.d) * float(packed.x);
    const float min = f16_value(block.dmin) * float(packed.y);
    const uint shift = i % 64 / 32 * 4, bit = i / 32;
    for (uint t = 0; t < 8; ++t)
      w[t] = scale * float((low[t] >> shift & 15u) | (high[t] >> bit & 1u) << 4) - min;
  }
};

struct WeightsQ6_K {
  using Block = BlockQ6_K;
  enum : uint { kBlockElems = 256 };
  static void load8(device const Block& block, uint i, thread float* w) {
    uint low[8], high[8];
    const uint h = i / 128, j = i % 128 / 32;
    load_bytes8(block.ql + h * 64 + j % 2 * 32 + i % 32, low);
    load_bytes8(block.qh + h * 32 + i % 32, high);
    const float scale = f16_value(block.d) * float(block.scales[i / 16]);
    for (uint t = 0; t < 8; ++t)
      w[t] =
          scale * float(int((low[t] >> (j / 2 * 4) & 15u) | (high[t] >> (j * 2) & 3u) << 4) - 32);
  }
};

// Plain formats: blocks of one, and rows of any length.
struct F32Value {
  using Block = float;
  static float decode(float v) { return v; }
};
struct F16Value {
  using Block = ushort;
  static float decode(ushort v) { return f16_value(v); }
};
struct BF16Value {
  using Block = ushort;
  static float decode(ushort v) { return as_type<float>(uint(v) << 16); }
};

// A row of weights: load8(row, i, cols, w) writes weights [i, i + 8), those past the end as zeros.
template <class W>
struct BlockRow {
  static size_t bytes(uint cols) {
    return size_t(cols / W::kBlockElems) * sizeof(typename W::Block);
  }
  static void load8(device const uchar* row, uint i, uint cols, thread float* w) {
    if (i < cols) {
      W::load8(reinterpret_cast<device const typename W::Block*>(row)[i / W::kBlockElems],
               i % W::kBlockElems, w);
    } else {
      for (uint t = 0; t < 8; ++t) w[t] = 0;
    }
  }
};
template <class V>
struct PlainRow {
  static size_t bytes(uint cols) { return size_t(cols) * sizeof(typename V::Block); }
  static void load8(device const uchar* row, uint i, uint cols, thread float* w) {
    device const typename V::Block* from =
        reinterpret_cast<device const typename V::Block*>(row) + i;
    for (uint t = 0; t < 8; ++t) w[t] = i + t < cols ? V::decode(from[t]) : 0.0f;
  }
};
using RowF32 = PlainRow<F32Value>;
using RowF16 = PlainRow<F16Value>;
using RowBF16 = PlainRow<BF16Value>;
using RowQ4_0 = BlockRow<WeightsQ4_0>;
using RowQ4_1 = BlockRow<WeightsQ4_1>;
using RowQ5_0 = BlockRow<WeightsQ5_0>;
using RowQ5_1 = BlockRow<WeightsQ5_1>;
using RowQ8_0 = BlockRow<WeightsQ8_0>;
using RowQ2_K = BlockRow<WeightsQ2_K>;
using RowQ3_K = BlockRow<WeightsQ3_K>;
using RowQ4_K = BlockRow<WeightsQ4_K>;
using RowQ5_K = BlockRow<WeightsQ5_K>;
using RowQ6_K = BlockRow<WeightsQ6_K>;

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_WEIGHTS_H_
