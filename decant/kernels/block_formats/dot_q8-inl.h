// Integer dot products: rows of weights in a block format times activations rounded to 8 bits
// (q8_row.h). Used by ops that multiply a matrix with one token.
//
//   quantize_row(x, cols, chunks)             once for a token
//   RowsQ8<Format, kRows> rows;               sums of kRows rows, in registers
//   rows.multiply({row pointers}, cols, ahead, chunks, out)
//
// Of each 32 (16) weights w = scale (u - offset) - min and activations x = x_scale q, the sum of
// w x is scale x_scale sum((u - offset) q) - min x_scale sum(q). The first sum is an integer one;
// it is exact, and so is its conversion to f32. Vectors hold pieces of 16 weights of 1, 2 or 4
// groups of 32 (pieces-inl.h). With 64 bytes (VNNI), operations for 128 weights of a row are: 2 to
// 12 to unpack and join, 2 for products and sums, 3 to convert, scale and add; scales come eight at
// once.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_DOT_Q8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_DOT_Q8_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_DOT_Q8_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_DOT_Q8_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "decant/kernels/block_formats/dot_bytes-inl.h"
#include "decant/kernels/block_formats/quantize_q8-inl.h"
#include "decant/kernels/block_formats/weights-inl.h"
#include "decant/kernels/fetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

template <BlockFormat F>
struct DotTraits {
  using Weights =
      std::conditional_t<std::is_same_v<F, WeightsQ8_0>, DotSigned8, DotOffset6<F::kOffset>>;
  static constexpr size_t kSubs = kChunkElems / F::kSubElems;  // scales of a chunk: 8 or 16
};

// Of `scales`, one for each kSubElems weights, those of groups kGroup, kGroup + 1, ...: each in the
// four lanes of a piece. kHalf: which half of the groups, if they have a scale for each.
template <size_t kSubElems, size_t kGroup, size_t kHalf>
HWY_INLINE hn::Vec<DotFloats> spread_scales(const float* HWY_RESTRICT scales) {
  const DotFloats d;
  const hn::CappedTag<float, kChunkElems / kSubElems> d_subs;
  constexpr size_t kStep = 32 / kSubElems;
  constexpr size_t kFirst = kGroup * kStep + kHalf;
  if constexpr (kPieces == 1) {
    return hn::Set(d, scales[kFirst]);
  } else {
    constexpr size_t kLanes = hn::MaxLanes(d);
    constexpr size_t kAligned = kFirst / kLanes * kLanes;
    alignas(64) static constexpr auto kIndices = [] {
      std::array<int32_t, kLanes> indices{};
      for (size_t i = 0; i < kLanes; ++i)
        indices[i] = static_cast<int32_t>(kFirst - kAligned + i / 4 * kStep);
      return indices;
    }();
    const auto indices = hn::SetTableIndices(d, kIndices.data());
    const auto subs = hn::Load(d_subs, scales + kAligned);
    if constexpr (hn::MaxLanes(d_subs) < kLanes)
      return hn::TableLookupLanes(hn::ZeroExtendVector(d, subs), indices);
    else
      return hn::TableLookupLanes(subs, indices);
  }
}

// The sums of kRows rows with one token.
template <BlockFormat F, size_t kRows>
class RowsQ8 {
 public:
  using Rows = const std::byte* const (&)[kRows];

  // An implicit one would not be compiled for the target.
  HWY_INLINE RowsQ8() {}  // NOLINT(modernize-use-equals-default)

  // out[r] = rows[r] times x. Prefetches what lies `ahead` bytes behind the rows' blocks, which may
  // be outside the weights.
  HWY_INLINE void multiply(Rows rows, size_t cols, size_t ahead, const Q8Chunk* HWY_RESTRICT x,
                           float* HWY_RESTRICT out) {
    zero(std::make_index_sequence<kRows>());
    size_t at = 0;
    for (; at + kChunkElems <= cols; at += kChunkElems, ++x)
      add_chunk<kChunkElems>(rows, at, ahead, *x);
    if constexpr (F::kBlockElems < kChunkElems) {
      if (cols - at == kChunkElems / 2)  // widths like 640 and 1152
        add_chunk<kChunkElems / 2>(rows, at, ahead, *x);
      else if (at < cols)
        add_rest(rows, at, cols - at, *x);
    }
    store(out, std::make_index_sequence<kRows>());
  }

 private:
  using T = DotTraits<F>;
  using Block = typename F::Block;
  using Floats = hn::Vec<DotFloats>;
  using SubFloats = hn::CappedTag<float, T::kSubs>;
  struct alignas(64) Scales {
    float value[16];
  };

  template <size_t... r>
  HWY_INLINE void zero(std::index_sequence<r...>) {
    ((dot_[r] = hn::Zero(DotFloats()), min_[r] = hn::Zero(SubFloats())), ...);
  }

  template <size_t... r>
  HWY_INLINE void store(float* HWY_RESTRICT out, std::index_sequence<r...>) {
    ((out[r] = hn::GetLane(hn::SumOfLanes(DotFloats(), dot_[r]))), ...);
    if constexpr (F::kHasMin) ((out[r] -= hn::GetLane(hn::SumOfLanes(SubFloats(), min_[r]))), ...);
  }

  template <size_t kElems>
  HWY_INLINE void add_chunk(Rows rows, size_t at, size_t ahead, const Q8Chunk& HWY_RESTRICT x) {
    const Block* blocks[kRows];
    HWY_UNROLL(4)
    for (size_t r = 0; r < kRows; ++r) {
      blocks[r] = blocks_at<F>(rows[r], at);
      const auto* next = reinterpret_cast<const std::byte*>(blocks[r]) + ahead;
      HWY_UNROLL(8)
      for (size_t i = 0; i < kElems / F::kBlockElems * sizeof(Block); i += 64) fetch_line(next + i);
    }
    add_blocks<kElems>(blocks, x, std::make_index_sequence<kRows>());
  }

  // Less than a chunk: as a chunk whose other weights are 0.
  HWY_NOINLINE void add_rest(Rows rows, size_t at, size_t elems, const Q8Chunk& HWY_RESTRICT x) {
    constexpr size_t kBlocks = kChunkElems / F::kBlockElems;
    Block padded[kRows][kBlocks];
    const Block* blocks[kRows];
    for (size_t r = 0; r < kRows; ++r) {
      std::memset(static_cast<void*>(padded[r]), 0, sizeof padded[r]);
      std::memcpy(padded[r], blocks_at<F>(rows[r], at), elems / F::kBlockElems * sizeof(Block));
      blocks[r] = padded[r];
    }
    add_blocks<kChunkElems>(blocks, x, std::make_index_sequence<kRows>());
  }

  template <size_t kElems, size_t... r>
  HWY_INLINE void add_blocks(const Block* const* HWY_RESTRICT blocks, const Q8Chunk& HWY_RESTRICT x,
                             std::index_sequence<r...> rows) {
    Scales scales[kRows];
    ((min_[r] = add_scales<kElems>(blocks[r], x, scales[r], min_[r])), ...);
    add_groups(blocks, x, scales, rows, std::make_index_sequence<kElems / 32 / kPieces>());
  }

  // scales := the products of the scales of weights and activations. Returns min + the share of
  // minimums.
  template <size_t kElems>
  static HWY_INLINE hn::Vec<SubFloats> add_scales(const Block* HWY_RESTRICT blocks,
                                                  const Q8Chunk& HWY_RESTRICT x, Scales& scales,
                                                  hn::Vec<SubFloats> min) {
    const SubFloats d;
    constexpr bool kWide = T::kSubs == 16;
    const float* HWY_RESTRICT x_scales = kWide ? x.scale16 : x.scale32;
    const float* HWY_RESTRICT x_sums = kWide ? x.sum16 : x.sum32;
    Chunk chunk;  // the scales of it
    F::unpack_scales(blocks, kElems / F::kBlockElems, chunk);
    for (size_t s = 0; s < kElems / F::kSubElems; s += hn::Lanes(d)) {
      const auto scale = hn::Load(d, chunk.scale + s);
      hn::Store(hn::Mul(scale, hn::Load(d, x_scales + s)), d, scales.value + s);
      if constexpr (F::kHasMin)
        min = hn::MulAdd(hn::Load(d, chunk.min + s), hn::Load(d, x_sums + s), min);
    }
    return min;
  }

  template <size_t... r, size_t... i>
  HWY_INLINE void add_groups(const Block* const* HWY_RESTRICT blocks, const Q8Chunk& HWY_RESTRICT x,
                             const Scales* HWY_RESTRICT scales, std::index_sequence<r...> rows,
                             std::index_sequence<i...>) {
    (add_groups_at<i * kPieces>(blocks, x, scales, rows), ...);
  }

  // Groups kGroup to kGroup + kPieces - 1.
  template <size_t kGroup, size_t... r>
  HWY_INLINE void add_groups_at(const Block* const* HWY_RESTRICT blocks,
                                const Q8Chunk& HWY_RESTRICT x, const Scales* HWY_RESTRICT scales,
                                std::index_sequence<r...>) {
    constexpr size_t kAt = kGroup / 4 * 128 + kGroup % 4 * 16;
    const X first = load_x<kAt>(x), second = load_x<kAt + 64>(x);
    const auto both = hn::Add(first.minus_sums, second.minus_sums);
    ((dot_[r] = add_row<kGroup>(blocks[r], first, second, both, scales[r].value, dot_[r])), ...);
  }

  struct X {
    hn::Vec<DotSigned> q;
    hn::Vec<DotInts> minus_sums;
  };
  template <size_t kAt>
  static HWY_INLINE X load_x(const Q8Chunk& HWY_RESTRICT x) {
    return {hn::Load(DotSigned(), x.q + kAt), hn::Load(DotInts(), x.minus_sum4 + kAt / 4)};
  }

  template <size_t kGroup>
  static HWY_INLINE Floats add_row(const Block* HWY_RESTRICT blocks, const X& first,
                                   const X& second, hn::Vec<DotInts> minus_sums,
                                   const float* HWY_RESTRICT scales, Floats sum) {
    using W = typename T::Weights;
    const DotFloats d;
    const Pieces w = F::template load_pieces<kGroup>(blocks);
    if constexpr (F::kSubElems == 32) {
      const auto dot = dot_bytes<W>(minus_sums, w.first, first.q, w.second, second.q);
      return hn::MulAdd(hn::ConvertTo(d, dot), spread_scales<32, kGroup, 0>(scales), sum);
    } else {
      const auto dot0 = dot_bytes<W>(first.minus_sums, w.first, first.q);
      const auto dot1 = dot_bytes<W>(second.minus_sums, w.second, second.q);
      sum = hn::MulAdd(hn::ConvertTo(d, dot0), spread_scales<16, kGroup, 0>(scales), sum);
      return hn::MulAdd(hn::ConvertTo(d, dot1), spread_scales<16, kGroup, 1>(scales), sum);
    }
  }

  Floats dot_[kRows];
  hn::Vec<SubFloats> min_[kRows];
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
