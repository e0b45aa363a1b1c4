#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>

#include "decant/core/kernel_registry.h"
#include "decant/kernels/attention.h"
#include "decant/ops/flash_attn_prefill/cpu_tile.h"
#include "decant/ops/flash_attn_prefill/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/flash_attn_prefill/cpu.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

#include "decant/kernels/float16-inl.h"

// One group: kTileRows queries against all keys that one of them attends, in blocks.
//
// 4 * rows * keys * head_dim flops. A block of 64 keys is converted to f32 once (4 bytes read and 8
// written per pair of K and V elements) and then used by 64 rows. Both products run in the same
// micro-kernel of kMicroRows x 2 vectors of accumulators: for scores the lanes are query rows, so
// that neither K is transposed nor a dot product summed across lanes, and the softmax works on
// whole vectors of rows; for the output the lanes are dimensions. At head_dim 256 the scratch is
// 273 KiB and lives in L2; what a micro-kernel sweeps over (queries 32 KiB, then a strip of V
// 8 KiB and p 16 KiB) lives in L1.
HWY_BEFORE_NAMESPACE();
namespace decant::cpu {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using prefill::kBlockKeys;
using prefill::kTileRows;

// At most 16 lanes, so that a micro-kernel is never wider than the padding of the scratch.
using DF = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<DF>;
using VF = hn::Vec<DF>;

// 2 vectors x 8 rows of accumulators want 32 registers, 2 x 4 fit 16.
constexpr size_t kMicroRows = hn::MaxLanes(DF()) == 16 || HWY_ARCH_ARM_A64 ? 8 : 4;
static_assert(2 * hn::MaxLanes(DF()) <= prefill::kMaxStrip && kTileRows % kMicroRows == 0 &&
              kBlockKeys % kMicroRows == 0);

HWY_INLINE size_t lanes() { return hn::Lanes(DF()); }
HWY_INLINE size_t strip() { return 2 * lanes(); }

// 2^x for x <= 1, 0 below 2^-126; NaN stays NaN. The polynomial is a minimax fit of 2^r on
// [-0.5, 0.5] with relative error 2e-9, 1.6e-8 after rounding its coefficients.
HWY_INLINE VF exp2(VF x) {
  const DF d;
  const DI di;
  const VF magic = hn::Set(d, 0x1.8p23f);  // adding it leaves round(x) in the low bits
  const VF shifted = hn::Add(x, magic);
  const VF r = hn::Sub(x, hn::Sub(shifted, magic));
  VF y = hn::Set(d, 0.0001534581242594868f);
  y = hn::MulAdd(y, r, hn::Set(d, 0.0013399930903688073f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.009618489071726799f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.05550328642129898f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.24022646248340607f));
  y = hn::MulAdd(y, r, hn::Set(d, 0.6931471824645996f));
  y = hn::MulAdd(y, r, hn::Set(d, 1.0f));
  const auto exponent = hn::Add(hn::BitCast(di, shifted), hn::Set(di, 127));
  // A multiplication, because adding to the exponent bits of a NaN could make it a number.
  y = hn::Mul(y, hn::BitCast(d, hn::ShiftLeft<23>(exponent)));
  return hn::IfThenZeroElse(hn::Lt(x, hn::Set(d, -126.0f)), y);
}

struct Matrix {
  float* data;
  size_t stride;  // of rows
};

// c[i][0, 2N) = scale[i] * c[i][0, 2N) + sum over t < steps of a(i, t) * b[t][0, 2N) for kMicroRows
// rows i, where a(i, t) = a[i * a_row + t * a_step]. Without kAccumulate c is only written.
template <bool kAccumulate>
HWY_INLINE void micro_kernel(const float* HWY_RESTRICT a, size_t a_row, size_t a_step,
                             const float* HWY_RESTRICT b, size_t steps, Matrix c,
                             const float* HWY_RESTRICT scale) {
  const DF d;
  const size_t n = lanes();
  const auto for_rows = [&]<size_t... I>(std::index_sequence<I...>) HWY_ATTR {
    VF left[kMicroRows], right[kMicroRows];
    if constexpr (kAccumulate) {
      ((left[I] = hn::Mul(hn::Load(d, c.data + I * c.stride), hn::Set(d, scale[I])),
        right[I] = hn::Mul(hn::Load(d, c.data + I * c.stride + n), hn::Set(d, scale[I]))),
       ...);
    } else {
      ((left[I] = hn::Zero(d), right[I] = hn::Zero(d)), ...);
    }
    for (size_t t = 0; t < steps; ++t, a += a_step, b += 2 * n) {
      const VF b0 = hn::Load(d, b), b1 = hn::Load(d, b + n);
      const auto row = [&](VF a_it, VF& l, VF& r) HWY_ATTR {
        l = hn::MulAdd(a_it, b0, l);
        r = hn::MulAdd(a_it, b1, r);
      };
      (row(hn::Set(d, a[I * a_row]), left[I], right[I]), ...);
    }
    ((hn::Store(left[I], d, c.data + I * c.stride),
      hn::Store(right[I], d, c.data + I * c.stride + n)),
     ...);
  };
  for_rows(std::make_index_sequence<kMicroRows>());
}

// Where the scratch of a group and its operands lie.
struct Tile {
  explicit Tile(const CpuGroup& group)
      : params(group.params<FlashAttnPrefillParams>()),
        kv_head(group.group.y),
        group_heads(params.num_heads / params.num_kv_heads),
        dim(params.head_dim),
        padded_dim(prefill::padded_dim(dim)),
        first_row(size_t{group.group.x} * kTileRows),
        rows(std::min(kTileRows, size_t{params.num_new} * group_heads - first_row)),
        used_rows((rows + strip() - 1) / strip() * strip()) {
    const prefill::TileScratch at = prefill::tile_scratch(dim);
    auto* base = reinterpret_cast<float*>(group.shared);
    q = base + at.q;
    k = base + at.k;
    v = base + at.v;
    p = base + at.p;
    acc = base + at.acc;
    row_max = base + at.row_max;
    row_sum = base + at.row_sum;
    factor = base + at.factor;
    first = reinterpret_cast<int32_t*>(base + at.first);
    last = reinterpret_cast<int32_t*>(base + at.last);
  }

  uint32_t token(size_t row) const {
    return static_cast<uint32_t>((first_row + row) / group_heads);
  }
  // Element offset of a row in q and out.
  size_t offset(size_t row) const {
    const size_t head = kv_head * group_heads + (first_row + row) % group_heads;
    return (token(row) * size_t{params.num_heads} + head) * dim;
  }
  // Keys [begin, end) that a row attends.
  uint32_t keys_end(size_t row) const { return params.kv_seq_len + token(row) + 1; }
  uint32_t keys_begin(size_t row) const {
    return window_start(static_cast<AttnMask>(params.mask_type), params.sliding_window,
                        keys_end(row));
  }

  const FlashAttnPrefillParams& params;
  size_t kv_head, group_heads, dim, padded_dim;
  size_t first_row, rows;
  size_t used_rows;  // rows, padded to whole panels
  float *q, *k, *v, *p, *acc, *row_max, *row_sum, *factor;
  int32_t *first, *last;
};

// Queries to [panel][dim][strip]. Four rows at a time, so that the scattered stores are of 16
// bytes.
void load_queries(const Tile& tile, const float* HWY_RESTRICT q) {
  const DF d;
  HWY_ALIGN static const float zeros[hn::MaxLanes(d)] = {};
  HWY_ALIGN float quads[4 * hn::MaxLanes(d)];
  for (size_t row = 0; row < tile.used_rows; row += 4) {
    const float* from[4];
    for (size_t i = 0; i < 4; ++i)
      from[i] = row + i < tile.rows ? q + tile.offset(row + i) : nullptr;
    float* to = tile.q + row / strip() * tile.dim * strip() + row % strip();
    for (size_t dim = 0; dim < tile.dim; dim += lanes()) {
      const auto load = [&](const float* p) HWY_ATTR { return hn::LoadU(d, p ? p + dim : zeros); };
      hn::StoreInterleaved4(load(from[0]), load(from[1]), load(from[2]), load(from[3]), d, quads);
      for (size_t i = 0; i < lanes(); ++i, to += strip()) std::memcpy(to, quads + 4 * i, 16);
    }
  }
}

// Keys [begin, begin + count) and their values to f32. What micro-kernels compute beyond the last
// key or dimension is never used; zeros there keep stale denormals, which are slow, out of them.
void load_block(const Tile& tile, const CpuGroup& group, uint32_t begin, size_t count) {
  const DF d;
  const FlashAttnPrefillParams& params = tile.params;
  for (size_t j = 0; j < count; ++j) {
    const uint32_t key = begin + static_cast<uint32_t>(j);
    const bool older = key < params.kv_seq_len;
    const size_t row = older ? tile.kv_head * params.kv_capacity +
                                   slot_of_logical(key, params.ring_start, params.kv_capacity)
                             : size_t{key - params.kv_seq_len} * params.num_kv_heads + tile.kv_head;
    const uint16_t* k = group.arg<const uint16_t>(older ? 4 : 2) + row * tile.dim;
    const uint16_t* v = group.arg<const uint16_t>(older ? 5 : 3) + row * tile.dim;
    float* k_to = tile.k + j * tile.dim;
    float* v_to = tile.v + j * strip();
    for (size_t dim = 0; dim < tile.dim; dim += lanes()) {
      const size_t at = dim / strip() * kBlockKeys * strip() + dim % strip();
      hn::Store(decant::HWY_NAMESPACE::load_f16(d, k + dim), d, k_to + dim);
      hn::Store(decant::HWY_NAMESPACE::load_f16(d, v + dim), d, v_to + at);
    }
    if (tile.dim % strip() != 0)
      hn::Store(hn::Zero(d), d, v_to + tile.dim / strip() * kBlockKeys * strip() + lanes());
  }
  const size_t padded = (count + kMicroRows - 1) / kMicroRows * kMicroRows;
  std::fill(tile.k + count * tile.dim, tile.k + padded * tile.dim, 0.0f);
}

// Keys of the block that at least one of the rows [row, row_end) attends, and those that all do.
// Both ends grow with the row.
struct Span {
  size_t begin, end;
  bool empty() const { return begin >= end; }
};
Span attended_by_any(const Tile& tile, size_t row, size_t row_end) {
  return {static_cast<size_t>(tile.first[row]), static_cast<size_t>(tile.last[row_end - 1])};
}
Span attended_by_all(const Tile& tile, size_t row, size_t row_end) {
  return {static_cast<size_t>(tile.first[row_end - 1]), static_cast<size_t>(tile.last[row])};
}

// Scores of keys [begin, end) to exponentials, for Lanes() rows from `row` on; updates the rows'
// maximum and sum. `scale` includes log2(e). What a row does not attend becomes p = 0.
void softmax(const Tile& tile, size_t row, size_t begin, size_t end, float scale) {
  const DF d;
  const DI di;
  const VF vscale = hn::Set(d, scale);
  const VF minus_inf = hn::Set(d, -std::numeric_limits<float>::infinity());
  const auto first = hn::Load(di, tile.first + row), last = hn::Load(di, tile.last + row);
  const auto attended = [&](size_t key) HWY_ATTR {
    const auto vkey = hn::Set(di, static_cast<int32_t>(key));
    return hn::RebindMask(d, hn::AndNot(hn::Lt(vkey, first), hn::Lt(vkey, last)));
  };
  // A NaN may or may not reach the maximum; it always reaches the exponentials.
  const VF old_max = hn::Load(d, tile.row_max + row);
  VF max = old_max;
  for (size_t key = begin; key < end; ++key) {
    const VF score = hn::Mul(hn::Load(d, tile.p + key * kTileRows + row), vscale);
    max = hn::Max(hn::IfThenElse(attended(key), score, minus_inf), max);
  }
  const VF finite_max = hn::IfThenZeroElse(hn::Eq(max, minus_inf), max);
  VF sum = hn::Zero(d);
  for (size_t key = begin; key < end; ++key) {
    float* at = tile.p + key * kTileRows + row;
    const VF exponent = hn::MulSub(hn::Load(d, at), vscale, finite_max);
    const VF p = hn::IfThenElseZero(attended(key), exp2(exponent));
    hn::Store(p, d, at);
    sum = hn::Add(sum, p);
  }
  const VF factor = exp2(hn::Sub(old_max, finite_max));
  hn::Store(factor, d, tile.factor + row);
  hn::Store(max, d, tile.row_max + row);
  hn::Store(hn::MulAdd(hn::Load(d, tile.row_sum + row), factor, sum), d, tile.row_sum + row);
}

void scores(const Tile& tile, float scale) {
  for (size_t row = 0; row < tile.used_rows; row += strip()) {
    const Span any = attended_by_any(tile, row, std::min(row + strip(), tile.rows));
    if (any.empty()) continue;
    const size_t begin = any.begin / kMicroRows * kMicroRows;
    for (size_t key = begin; key < any.end; key += kMicroRows)
      micro_kernel<false>(tile.k + key * tile.dim, tile.dim, 1, tile.q + row * tile.dim, tile.dim,
                          {tile.p + key * kTileRows + row, kTileRows}, nullptr);
    for (size_t half = 0; half < strip(); half += lanes())
      softmax(tile, row + half, any.begin, any.end, scale);
  }
}

// acc[row] += p * v over keys [begin, end).
void accumulate_row(const Tile& tile, size_t row, size_t begin, size_t end) {
  const DF d;
  for (size_t key = begin; key < end; ++key) {
    const VF p = hn::Set(d, tile.p[key * kTileRows + row]);
    for (size_t dim = 0; dim < tile.dim; dim += lanes()) {
      const float* v = tile.v + (dim / strip() * kBlockKeys + key) * strip() + dim % strip();
      float* acc = tile.acc + row * tile.padded_dim + dim;
      hn::Store(hn::MulAdd(p, hn::Load(d, v), hn::Load(d, acc)), d, acc);
    }
  }
}

// The micro-kernel runs over the keys that all its rows attend. The few others are added row by
// row: p = 0 would not silence a NaN in a value that its row does not attend.
void outputs(const Tile& tile) {
  for (size_t dim = 0; dim < tile.padded_dim; dim += strip()) {
    const float* v = tile.v + dim * kBlockKeys;
    for (size_t row = 0; row < tile.rows; row += kMicroRows) {
      const size_t row_end = std::min(row + kMicroRows, tile.rows);
      if (attended_by_any(tile, row, row_end).empty()) continue;
      const Span all = attended_by_all(tile, row, row_end);
      micro_kernel<true>(tile.p + all.begin * kTileRows + row, 1, kTileRows,
                         v + all.begin * strip(), all.empty() ? 0 : all.end - all.begin,
                         {tile.acc + row * tile.padded_dim + dim, tile.padded_dim},
                         tile.factor + row);
    }
  }
  for (size_t row = 0; row < tile.rows; ++row) {
    const size_t micro_row = row / kMicroRows * kMicroRows;
    const Span all = attended_by_all(tile, micro_row, std::min(micro_row + kMicroRows, tile.rows));
    const Span own = attended_by_all(tile, row, row + 1);
    if (all.empty()) {
      accumulate_row(tile, row, own.begin, own.end);
    } else {
      accumulate_row(tile, row, own.begin, all.begin);
      accumulate_row(tile, row, all.end, own.end);
    }
  }
}

void store_outputs(const Tile& tile, float* HWY_RESTRICT out) {
  const DF d;
  for (size_t row = 0; row < tile.rows; ++row) {
    const VF sum = hn::Set(d, tile.row_sum[row]);
    for (size_t dim = 0; dim < tile.dim; dim += lanes())
      hn::StoreU(hn::Div(hn::Load(d, tile.acc + row * tile.padded_dim + dim), sum), d,
                 out + tile.offset(row) + dim);
  }
}

void flash_attn_prefill(const CpuGroup& group) {
  const Tile tile(group);
  load_queries(tile, group.arg<const float>(1));
  std::fill(tile.acc, tile.acc + tile.used_rows * tile.padded_dim, 0.0f);
  std::fill(tile.row_sum, tile.row_sum + tile.used_rows, 0.0f);
  std::fill(tile.row_max, tile.row_max + tile.used_rows, -std::numeric_limits<float>::infinity());

  const float scale = tile.params.scale * 1.44269504088896341f;
  const uint32_t end = tile.keys_end(tile.rows - 1);
  for (uint32_t begin = tile.keys_begin(0); begin < end; begin += kBlockKeys) {
    const uint32_t count = std::min(end - begin, static_cast<uint32_t>(kBlockKeys));
    const auto in_block = [&](uint32_t key) {
      return static_cast<int32_t>(std::clamp(key, begin, begin + count) - begin);
    };
    for (size_t row = 0; row < tile.used_rows; ++row) {
      // Padding attends nothing.
      tile.first[row] = row < tile.rows ? in_block(tile.keys_begin(row)) : 0;
      tile.last[row] = row < tile.rows ? in_block(tile.keys_end(row)) : 0;
    }
    load_block(tile, group, begin, count);
    scores(tile, scale);
    outputs(tile);
  }
  store_outputs(tile, group.arg<float>(6));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace decant::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(flash_attn_prefill);
void flash_attn_prefill(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(flash_attn_prefill)(group); }
}  // namespace decant::cpu
#endif
