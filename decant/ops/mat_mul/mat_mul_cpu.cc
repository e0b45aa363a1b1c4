// Mat-mul: many tokens, so the arithmetic is the limit: 2 rows cols tokens flops.
//
// A group computes 64 rows for up to 256 tokens, 256 columns at a time: it decodes the weights to a
// panel of f32 (64 KB, in L2), transposed so that a vector holds one column of several rows; then,
// strip by strip of two vectors of rows (32 KB or less, in L1), it adds panel times x to `out`, 12
// (32 registers) or 6 (16 registers) tokens at a time. That tile takes 24 (12) multiply-adds for 2
// loads of weights and 12 (6) broadcasts of x, so the multiply-adds are the bottleneck. Decoding
// and transposing costs about as much as 12 tokens.
#include <algorithm>

#include "decant/core/dtype.h"
#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/ops/mat_mul/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/mat_mul/mat_mul_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr size_t kStripRows = 2 * hn::MaxLanes(D());
#if HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr size_t kTileTokens = 12;
#else
constexpr size_t kTileTokens = 6;
#endif
static_assert(kMatMulGroupRows % kStripRows == 0 &&
              kStripRows * kChunkElems * sizeof(float) <= kMatMulSharedBytes);

// Sums of kTokens tokens for a strip of rows, in registers.
template <size_t kTokens>
struct Tile {
  V low, high;
  Tile<kTokens - 1> rest;

  // Written out: gcc compiles an implicit one without the target's options, which NEON's vectors,
  // having constructors, do not survive.
  HWY_INLINE Tile() {}  // NOLINT(modernize-use-equals-default)
  HWY_INLINE void zero() {
    low = high = hn::Zero(D());
    rest.zero();
  }
  HWY_INLINE void load(const float* HWY_RESTRICT from, size_t stride) {
    const D d;
    low = hn::LoadU(d, from);
    high = hn::LoadU(d, from + hn::Lanes(d));
    rest.load(from + stride, stride);
  }
  HWY_INLINE void add(V w_low, V w_high, const float* HWY_RESTRICT x, size_t stride) {
    const V v = hn::Set(D(), *x);
    low = hn::MulAdd(w_low, v, low);
    high = hn::MulAdd(w_high, v, high);
    rest.add(w_low, w_high, x + stride, stride);
  }
  HWY_INLINE void store(float* HWY_RESTRICT to, size_t stride) const {
    const D d;
    hn::StoreU(low, d, to);
    hn::StoreU(high, d, to + hn::Lanes(d));
    rest.store(to + stride, stride);
  }
};
template <>
struct Tile<0> {
  HWY_INLINE Tile() {}  // NOLINT(modernize-use-equals-default)
  HWY_INLINE void zero() {}
  HWY_INLINE void load(const float*, size_t) {}
  HWY_INLINE void add(V, V, const float*, size_t) {}
  HWY_INLINE void store(float*, size_t) const {}
};

// `cols` columns of kStripRows weights each.
struct Strip {
  const float* weights;
  size_t cols;
  size_t rows;  // that exist, at most kStripRows
};

// out[t][r] = (or +=, not the first columns) strip times x, for kTokens tokens.
template <size_t kTokens>
HWY_NOINLINE void multiply_tile(const Strip& strip, const float* HWY_RESTRICT x, size_t x_stride,
                                float* HWY_RESTRICT out, size_t out_stride, bool accumulate) {
  const D d;
  Tile<kTokens> tile;
  HWY_ALIGN float partial[kTokens * kStripRows];
  const bool whole = strip.rows == kStripRows;
  if (!accumulate) {
    tile.zero();
  } else if (whole) {
    tile.load(out, out_stride);
  } else {
    for (size_t t = 0; t < kTokens; ++t)
      for (size_t r = 0; r < kStripRows; ++r)
        partial[t * kStripRows + r] = r < strip.rows ? out[t * out_stride + r] : 0;
    tile.load(partial, kStripRows);
  }
  const float* HWY_RESTRICT w = strip.weights;
  for (size_t c = 0; c < strip.cols; ++c, w += kStripRows)
    tile.add(hn::Load(d, w), hn::Load(d, w + hn::Lanes(d)), x + c, x_stride);
  if (whole) {
    tile.store(out, out_stride);
  } else {
    tile.store(partial, kStripRows);
    for (size_t t = 0; t < kTokens; ++t)
      std::copy_n(partial + t * kStripRows, strip.rows, out + t * out_stride);
  }
}

// The same for tokens <= kMax.
template <size_t kMax>
HWY_INLINE void multiply_rest(size_t tokens, const Strip& strip, const float* HWY_RESTRICT x,
                              size_t x_stride, float* HWY_RESTRICT out, size_t out_stride,
                              bool accumulate) {
  if constexpr (kMax > 0) {
    if (tokens == kMax)
      multiply_tile<kMax>(strip, x, x_stride, out, out_stride, accumulate);
    else
      multiply_rest<kMax - 1>(tokens, strip, x, x_stride, out, out_stride, accumulate);
  }
}

// Rows that are decoded and transposed together. With the strip they fit in L1.
constexpr size_t kDecodeRows = 8;
static_assert(kStripRows % kDecodeRows == 0);

// Turns `cols` columns of kDecodeRows rows into lanes of a strip. Rows and strip are read and
// written up to the next multiple of four columns.
HWY_INLINE void transpose(const float* HWY_RESTRICT rows, size_t cols, float* HWY_RESTRICT strip) {
  const hn::FixedTag<float, 4> d;
  for (size_t c = 0; c < cols; c += 4) {
    HWY_UNROLL(2)
    for (size_t r = 0; r < kDecodeRows; r += 4) {
      const float* HWY_RESTRICT from = rows + r * kChunkElems + c;
      const auto row0 = hn::Load(d, from), row1 = hn::Load(d, from + kChunkElems),
                 row2 = hn::Load(d, from + 2 * kChunkElems),
                 row3 = hn::Load(d, from + 3 * kChunkElems);
      const auto low01 = hn::InterleaveLower(d, row0, row1),
                 low23 = hn::InterleaveLower(d, row2, row3),
                 high01 = hn::InterleaveUpper(d, row0, row1),
                 high23 = hn::InterleaveUpper(d, row2, row3);
      float* HWY_RESTRICT to = strip + c * kStripRows + r;
      hn::Store(hn::ConcatLowerLower(d, low23, low01), d, to);
      hn::Store(hn::ConcatUpperUpper(d, low23, low01), d, to + kStripRows);
      hn::Store(hn::ConcatLowerLower(d, high23, high01), d, to + 2 * kStripRows);
      hn::Store(hn::ConcatUpperUpper(d, high23, high01), d, to + 3 * kStripRows);
    }
  }
}

// Decodes columns [first, first + cols) of `rows` <= kStripRows rows to a strip, 0 in the others.
template <class F>
HWY_INLINE void decode_strip(const std::byte* HWY_RESTRICT weight, size_t row_bytes, size_t rows,
                             size_t first, size_t cols, float* HWY_RESTRICT strip) {
  HWY_ALIGN float decoded[kDecodeRows * kChunkElems];
  for (size_t row = 0; row < kStripRows; row += kDecodeRows) {
    for (size_t r = 0; r < kDecodeRows; ++r) {
      float* HWY_RESTRICT to = decoded + r * kChunkElems;
      size_t have = 0;
      if (row + r < rows) {
        decode_row_part<F>(weight + (row + r) * row_bytes, first, cols, to);
        have = cols;
      }
      std::fill(to + have, to + (cols + 3) / 4 * 4, 0.0f);
    }
    transpose(decoded, cols, strip + row);
  }
}

template <class F>
HWY_INLINE void mat_mul(const CpuGroup& group, size_t row_bytes) {
  const auto& p = group.params<MatMulParams>();
  const size_t first_row = size_t{group.group.x} * kMatMulGroupRows;
  const size_t first_token = size_t{group.group.y} * kMatMulGroupTokens;
  const size_t rows = std::min<size_t>(kMatMulGroupRows, p.rows - first_row);
  const size_t tokens = std::min<size_t>(kMatMulGroupTokens, p.tokens - first_token);
  const std::byte* HWY_RESTRICT weight = group.arg<const std::byte>(1) + first_row * row_bytes;
  const float* HWY_RESTRICT x = group.arg<const float>(2) + first_token * p.cols;
  float* HWY_RESTRICT out = group.arg<float>(3) + first_token * p.rows + first_row;
  float* HWY_RESTRICT weights = reinterpret_cast<float*>(group.shared);

  for (size_t at = 0; at < p.cols; at += kChunkElems) {
    const size_t cols = std::min<size_t>(kChunkElems, p.cols - at);
    for (size_t row = 0; row < rows; row += kStripRows) {
      const Strip strip{.weights = weights, .cols = cols, .rows = std::min(kStripRows, rows - row)};
      decode_strip<F>(weight + row * row_bytes, row_bytes, strip.rows, at, cols, weights);
      size_t t = 0;
      for (; t + kTileTokens <= tokens; t += kTileTokens)
        multiply_tile<kTileTokens>(strip, x + t * p.cols + at, p.cols, out + t * p.rows + row,
                                   p.rows, at > 0);
      multiply_rest<kTileTokens - 1>(tokens - t, strip, x + t * p.cols + at, p.cols,
                                     out + t * p.rows + row, p.rows, at > 0);
    }
  }
}

#define DECANT_MAT_MUL(format, Format)                                 \
  void mat_mul_##format##_f32(const CpuGroup& group) {                 \
    const size_t cols = group.params<MatMulParams>().cols;             \
    mat_mul<Weights##Format>(group, bytes_of(DType::k##Format, cols)); \
  }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
#define DECANT_MAT_MUL(format, Format)                   \
  HWY_EXPORT(mat_mul_##format##_f32);                    \
  void mat_mul_##format##_f32(const CpuGroup& group) {   \
    HWY_DYNAMIC_DISPATCH(mat_mul_##format##_f32)(group); \
  }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
}  // namespace decant::cpu
#endif
