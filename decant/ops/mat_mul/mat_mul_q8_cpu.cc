// Mat-mul with activations rounded to 8 bits: many tokens, so the arithmetic is the limit.
//
// A group computes up to 64 rows for up to 64 tokens. It rounds its tokens (once for a thread's
// successive groups of the same tokens), unpacks its rows to a panel of integers and scales, and
// then multiplies tiles of 4 rows and 4 (32 registers) or 2 tokens; the tokens of one pass over the
// panel are as many as fit in L1. With vectors of 64 bytes, 128 weights of a row and a token take
// five operations: two of products, then convert and scale by the token's and by the row's scale,
// the last adding up. Minimums take one more. That is 3 times what f32 multiply-adds reach.
#include <algorithm>

#include "decant/core/dtype.h"
#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/ops/mat_mul/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/mat_mul/mat_mul_q8_cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/dot_q8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

using V = hn::Vec<DotFloats>;
constexpr size_t kTileRows = kMatMulQ8TileRows;
#if HWY_TARGET <= HWY_AVX3 || HWY_TARGET == HWY_NEON
constexpr size_t kTileTokens = 4;
#else
constexpr size_t kTileTokens = 2;
#endif
constexpr size_t kL1TokenBytes = 24 << 10;
constexpr size_t kChunkUnits = kChunkElems / 32 / kPieces;

// A vector of groups of a row: their integers, and scale and minimum in each lane that sums up
// products; where each half of a group has its own, two of them.
struct NoMinimums {};
template <size_t kHalves>
struct Minimums {
  float min[kHalves][hn::MaxLanes(DotFloats())];
};
template <BlockFormat F, size_t kHalves_ = 32 / F::kSubElems>
struct Unit : std::conditional_t<F::kHasMin, Minimums<kHalves_>, NoMinimums> {
  static constexpr size_t kHalves = kHalves_;
  uint8_t first[hn::MaxLanes(DotBytes())], second[hn::MaxLanes(DotBytes())];
  float scale[kHalves][hn::MaxLanes(DotFloats())];
};

template <BlockFormat F, size_t kUnit>
HWY_INLINE void unpack_unit(const typename F::Block* HWY_RESTRICT blocks, const Chunk& scales,
                            Unit<F>& HWY_RESTRICT to) {
  constexpr size_t kGroup = kUnit * kPieces;
  const DotFloats d;
  const Pieces q = F::template load_pieces<kGroup>(blocks);
  hn::Store(q.first, DotBytes(), to.first);
  hn::Store(q.second, DotBytes(), to.second);
  hn::Store(spread_scales<F::kSubElems, kGroup, 0>(scales.scale), d, to.scale[0]);
  if constexpr (F::kSubElems == 16)
    hn::Store(spread_scales<16, kGroup, 1>(scales.scale), d, to.scale[1]);
  if constexpr (F::kHasMin) {
    hn::Store(spread_scales<F::kSubElems, kGroup, 0>(scales.min), d, to.min[0]);
    if constexpr (F::kSubElems == 16)
      hn::Store(spread_scales<16, kGroup, 1>(scales.min), d, to.min[1]);
  }
}

template <BlockFormat F, size_t... unit>
HWY_INLINE void unpack_units(const typename F::Block* HWY_RESTRICT blocks, size_t count,
                             Unit<F>* HWY_RESTRICT to, std::index_sequence<unit...>) {
  Chunk scales;
  F::unpack_scales(blocks, count, scales);
  (unpack_unit<F, unit>(blocks, scales, to[unit * kTileRows]), ...);
}

// Units of a row of `cols` columns; a rest of less than half a chunk counts as half a one.
HWY_INLINE size_t units_of(size_t cols) { return (cols + 127) / 128 * (kChunkUnits / 2); }

// to[unit * kTileRows] := the units of a row. Weights past the row's end are 0.
template <BlockFormat F>
HWY_INLINE void unpack_row(const std::byte* HWY_RESTRICT row, size_t cols,
                           Unit<F>* HWY_RESTRICT to) {
  using Block = typename F::Block;
  constexpr size_t kBlocks = kChunkElems / F::kBlockElems;
  constexpr auto kAll = std::make_index_sequence<kChunkUnits>();
  size_t at = 0;
  for (; at + kChunkElems <= cols; at += kChunkElems, to += kChunkUnits * kTileRows)
    unpack_units<F>(blocks_at<F>(row, at), kBlocks, to, kAll);
  if constexpr (kBlocks > 1) {
    if (at == cols) return;
    Block padded[kBlocks];
    std::memset(static_cast<void*>(padded), 0, sizeof padded);
    std::memcpy(padded, blocks_at<F>(row, at), (cols - at) / F::kBlockElems * sizeof(Block));
    if (cols - at <= kChunkElems / 2)
      unpack_units<F>(padded, kBlocks, to, std::make_index_sequence<kChunkUnits / 2>());
    else
      unpack_units<F>(padded, kBlocks, to, kAll);
  }
}

// A token's part of a unit.
struct TokenUnit {
  hn::Vec<DotSigned> first, second;
  hn::Vec<DotInts> minus_first, minus_second;
  V scale;
};
template <size_t kUnit>
HWY_INLINE TokenUnit load_token(const Q8Chunk& HWY_RESTRICT x) {
  constexpr size_t kGroup = kUnit * kPieces;
  constexpr size_t kAt = kGroup / 4 * 128 + kGroup % 4 * 16;
  return {hn::Load(DotSigned(), x.q + kAt), hn::Load(DotSigned(), x.q + kAt + 64),
          hn::Load(DotInts(), x.minus_sum4 + kAt / 4),
          hn::Load(DotInts(), x.minus_sum4 + kAt / 4 + 16),
          spread_scales<32, kGroup, 0>(x.scale32)};
}

// The sums of kTileTokens tokens times kTileRows rows.
template <BlockFormat F>
class TileQ8 {
 public:
  // An implicit one would not be compiled for the target.
  HWY_INLINE TileQ8() {}  // NOLINT(modernize-use-equals-default)

  // out[t][r] = row r of the panel times token t, in vectors of four rows.
  HWY_INLINE void multiply(const Unit<F>* HWY_RESTRICT panel, size_t cols,
                           const Q8Chunk* const (&tokens)[kTileTokens],
                           float (&out)[kTileTokens][kTileRows]) {
    for_each([](V& sum, size_t, size_t) HWY_ATTR { sum = hn::Zero(DotFloats()); });
    size_t chunk = 0;
    for (; (chunk + 1) * kChunkElems <= cols; ++chunk, panel += kChunkUnits * kTileRows)
      add_units(panel, tokens, chunk, std::make_index_sequence<kChunkUnits>());
    const size_t rest = cols - chunk * kChunkElems;
    if (rest > kChunkElems / 2)
      add_units(panel, tokens, chunk, std::make_index_sequence<kChunkUnits>());
    else if (rest > 0)
      add_units(panel, tokens, chunk, std::make_index_sequence<kChunkUnits / 2>());
    store(out, std::make_index_sequence<kTileTokens>());
  }

 private:
  using W = typename DotTraits<F>::Weights;
  static constexpr size_t kHalves = Unit<F>::kHalves;
  using RowIndices = std::make_index_sequence<kTileRows>;

  template <class Body, size_t... i>
  HWY_INLINE void for_each_at(const Body& body, std::index_sequence<i...>) {
    (body(sums_[i / kTileRows][i % kTileRows], i / kTileRows, i % kTileRows), ...);
  }
  template <class Body>
  HWY_INLINE void for_each(const Body& body) {
    for_each_at(body, std::make_index_sequence<kTileTokens * kTileRows>());
  }

  template <size_t... unit>
  HWY_INLINE void add_units(const Unit<F>* HWY_RESTRICT panel,
                            const Q8Chunk* const (&tokens)[kTileTokens], size_t chunk,
                            std::index_sequence<unit...>) {
    (add_unit<unit>(panel + unit * kTileRows, tokens, chunk,
                    std::make_index_sequence<kTileTokens>()),
     ...);
  }
  template <size_t kUnit, size_t... t>
  HWY_INLINE void add_unit(const Unit<F>* HWY_RESTRICT rows,
                           const Q8Chunk* const (&tokens)[kTileTokens], size_t chunk,
                           std::index_sequence<t...>) {
    (add_token<t>(rows, load_token<kUnit>(tokens[t][chunk]), RowIndices()), ...);
  }
  template <size_t t, size_t... r>
  HWY_INLINE void add_token(const Unit<F>* HWY_RESTRICT rows, const TokenUnit& x,
                            std::index_sequence<r...>) {
    const DotFloats d;
    // Lanes' sums of activations, negative, for minimums.
    [[maybe_unused]] V minus_first, minus_second;
    const auto minus_both = hn::Add(x.minus_first, x.minus_second);
    if constexpr (F::kHasMin && kHalves == 1) {
      minus_first = hn::Mul(hn::ConvertTo(d, minus_both), x.scale);
    } else if constexpr (F::kHasMin) {
      minus_first = hn::Mul(hn::ConvertTo(d, x.minus_first), x.scale);
      minus_second = hn::Mul(hn::ConvertTo(d, x.minus_second), x.scale);
    }
    const auto add_row = [&](const Unit<F>& w, V sum) HWY_ATTR {
      const auto first = hn::Load(DotBytes(), w.first), second = hn::Load(DotBytes(), w.second);
      const auto add = [&](hn::Vec<DotInts> dot, size_t half) HWY_ATTR {
        const V scaled = hn::Mul(hn::ConvertTo(d, dot), x.scale);
        sum = hn::MulAdd(scaled, hn::Load(d, w.scale[half]), sum);
      };
      if constexpr (kHalves == 1) {
        add(dot_bytes<W>(minus_both, first, x.first, second, x.second), 0);
      } else {
        add(dot_bytes<W>(x.minus_first, first, x.first), 0);
        add(dot_bytes<W>(x.minus_second, second, x.second), 1);
      }
      if constexpr (F::kHasMin) {
        sum = hn::MulAdd(minus_first, hn::Load(d, w.min[0]), sum);
        if constexpr (kHalves == 2) sum = hn::MulAdd(minus_second, hn::Load(d, w.min[1]), sum);
      }
      return sum;
    };
    ((sums_[t][r] = add_row(rows[r], sums_[t][r])), ...);
  }

  using Four = hn::FixedTag<float, 4>;
  static HWY_INLINE hn::Vec<Four> fold(V v) {
#if HWY_MAX_BYTES >= 64
    const hn::Half<DotFloats> half;
    const auto v8 = hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v));
    return hn::Add(hn::LowerHalf(Four(), v8), hn::UpperHalf(Four(), v8));
#elif HWY_MAX_BYTES == 32
    return hn::Add(hn::LowerHalf(Four(), v), hn::UpperHalf(Four(), v));
#else
    return v;
#endif
  }
  template <size_t... t>
  HWY_INLINE void store(float (&out)[kTileTokens][kTileRows], std::index_sequence<t...>) {
    static_assert(kTileRows == 4);
    const auto add = [](hn::Vec<Four> a, hn::Vec<Four> b) HWY_ATTR { return hn::Add(a, b); };
    (hn::StoreU(reduce_fours(Four(), fold(sums_[t][0]), fold(sums_[t][1]), fold(sums_[t][2]),
                             fold(sums_[t][3]), add),
                Four(), out[t]),
     ...);
  }

  V sums_[kTileTokens][kTileRows];
};

// Tokens [begin, end) times the panel's `rows` rows.
template <BlockFormat F>
HWY_INLINE void multiply_panel(const Unit<F>* HWY_RESTRICT panel, size_t rows, size_t cols,
                               const Q8Chunk* HWY_RESTRICT x, size_t begin, size_t end,
                               float* HWY_RESTRICT out, size_t out_stride) {
  const size_t units = units_of(cols);
  for (size_t row = 0; row < rows; row += kTileRows, panel += units * kTileRows)
    for (size_t t = begin; t < end; t += kTileTokens) {
      const Q8Chunk* tokens[kTileTokens];
      for (size_t i = 0; i < kTileTokens; ++i)
        tokens[i] = x + std::min(t + i, end - 1) * q8_chunks(cols);
      float sums[kTileTokens][kTileRows];
      TileQ8<F> tile;
      tile.multiply(panel, cols, tokens, sums);
      for (size_t i = 0; i < kTileTokens && t + i < end; ++i)
        std::copy_n(sums[i], std::min(kTileRows, rows - row), out + (t + i) * out_stride + row);
    }
}

// Scratch: which tokens it holds, the tokens, the panel.
struct alignas(64) Header {
  uint32_t token_block;
};

template <BlockFormat F>
HWY_INLINE void mat_mul_q8(const CpuGroup& group, size_t row_bytes) {
  const auto& p = group.params<MatMulParams>();
  const size_t group_rows = mat_mul_q8_rows(p.cols), group_tokens = mat_mul_q8_tokens(p.cols);
  const size_t first_row = group.group.x * group_rows;
  const size_t first_token = group.group.y * group_tokens;
  const size_t rows = std::min(group_rows, p.rows - first_row);
  const size_t tokens = std::min(group_tokens, p.tokens - first_token);
  const std::byte* HWY_RESTRICT weight = group.arg<const std::byte>(1) + first_row * row_bytes;
  const float* HWY_RESTRICT from = group.arg<const float>(2) + first_token * p.cols;
  float* HWY_RESTRICT out = group.arg<float>(3) + first_token * p.rows + first_row;
  auto* header = reinterpret_cast<Header*>(group.shared);
  auto* HWY_RESTRICT x = reinterpret_cast<Q8Chunk*>(group.shared + sizeof(Header));
  auto* HWY_RESTRICT panel =
      reinterpret_cast<Unit<F>*>(group.shared + sizeof(Header) + group_tokens * q8_bytes(p.cols));
  static_assert(sizeof(Unit<F>) <= kMatMulQ8PanelBytes * 32 * kPieces);

  if (!group.shared_kept || header->token_block != group.group.y) {
    for (size_t t = 0; t < tokens; ++t)
      quantize_row(from + t * p.cols, p.cols, x + t * q8_chunks(p.cols));
    header->token_block = group.group.y;
  }
  const size_t units = units_of(p.cols);
  const size_t padded_rows = (rows + kTileRows - 1) / kTileRows * kTileRows;
  for (size_t r = 0; r < padded_rows; ++r)
    unpack_row<F>(weight + std::min(r, rows - 1) * row_bytes, p.cols,
                  panel + r / kTileRows * units * kTileRows + r % kTileRows);
  const size_t pass =
      std::max<size_t>(kL1TokenBytes / q8_bytes(p.cols) / kTileTokens, 1) * kTileTokens;
  for (size_t t = 0; t < tokens; t += pass)
    multiply_panel<F>(panel, rows, p.cols, x, t, std::min(t + pass, tokens), out, p.rows);
}

#define DECANT_MAT_MUL(format, Format)                                    \
  void mat_mul_##format##_q8(const CpuGroup& group) {                     \
    const size_t cols = group.params<MatMulParams>().cols;                \
    mat_mul_q8<Weights##Format>(group, bytes_of(DType::k##Format, cols)); \
  }
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
#define DECANT_MAT_MUL(format, Format)                  \
  HWY_EXPORT(mat_mul_##format##_q8);                    \
  void mat_mul_##format##_q8(const CpuGroup& group) {   \
    HWY_DYNAMIC_DISPATCH(mat_mul_##format##_q8)(group); \
  }
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
}  // namespace decant::cpu
#endif
