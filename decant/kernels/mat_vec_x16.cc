// mat_vec_rows_q8 for weights with sixteen rows side by side (block_formats/x16.h): a lane is a
// row.
//
// A core multiplies 25 to 85 GB/s of weights, more than memory gives it, so what counts is that
// reads are always under way.
#include <cstring>
#include <type_traits>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/kernels/mat_vec_q8.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/kernels/mat_vec_x16.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/dot_bytes-inl.h"
#include "decant/kernels/block_formats/unpack-inl.h"
#include "decant/kernels/fetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

constexpr size_t kLanes = hn::MaxLanes(DotInts());  // rows of a vector
constexpr size_t kVectors = kX16Rows / kLanes;

using Ints = hn::Vec<DotInts>;
using Floats = hn::Vec<DotFloats>;
using Words = hn::Vec<hn::Repartition<uint32_t, DotBytes>>;  // x86 shifts no bytes

// Four bytes of each row of a vector, the first of them at `from`.
//
// The order of these loads is the order of the source, and each is one instruction. Prefetchers
// follow addresses that rise and lose those that jump about, as a compiler's order makes them; and
// it would load some words again, up to eight times, in every instruction that can read memory. The
// head of Gemma 3 was read at 0.6 of memory's speed in such an order, at 0.96 in this one.
HWY_INLINE Words load_words(const void* from) {
  const hn::Repartition<uint32_t, DotBytes> d;
  auto words = hn::BitCast(d, hn::LoadU(DotBytes(), static_cast<const uint8_t*>(from)));
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  asm volatile("" : "+v"(words.raw));
#endif
  return words;
}
HWY_INLINE hn::Vec<DotBytes> load_rows(const void* from) {
  return hn::BitCast(DotBytes(), load_words(from));
}
// The bits of kMask of every byte, after a shift to the left or, if it is negative, to the right.
template <int kShift, uint8_t kMask>
HWY_INLINE hn::Vec<DotBytes> masked_bits(Words words) {
  const DotBytes d;
  if constexpr (kShift > 0) words = hn::ShiftLeft<kShift>(words);
  if constexpr (kShift < 0) words = hn::ShiftRight<-kShift>(words);
  return hn::And(hn::BitCast(d, words), hn::Set(d, kMask));
}
template <class T>
HWY_INLINE Floats load_small(const T* from) {
  const hn::Rebind<T, DotFloats> d_small;
  return hn::ConvertTo(DotFloats(), hn::PromoteTo(DotInts(), hn::LoadU(d_small, from)));
}

// A group of 32 activations of a token.
struct Group {
  const Q8Chunk& chunk;
  size_t i;  // of the chunk's eight

  Floats scale() const { return hn::Set(DotFloats(), chunk.scale32[i]); }
  Floats sum() const { return hn::Set(DotFloats(), chunk.sum32[i]); }  // times the scale
  int32_t minus_sum(size_t half) const { return chunk.minus_sum16[2 * i + half]; }
  int32_t minus_sum() const { return minus_sum(0) + minus_sum(1); }
  // Activations 4 j to 4 j + 3 in every lane.
  template <size_t j>
  HWY_INLINE hn::Vec<DotSigned> four() const {
    // The chunk holds the last 16 of a group 64 bytes behind its first 16.
    const int8_t* q = chunk.q + i / 4 * 128 + i % 4 * 16 + (j < 4 ? 4 * j : 64 + 4 * (j - 4));
    int32_t word;
    std::memcpy(&word, q, sizeof word);
    return hn::BitCast(DotSigned(), hn::Set(DotInts(), word));
  }
};

// Columns 8 i to 8 i + 3 and 8 i + 4 to 8 i + 7 of a group, of each row of a vector.
struct Columns {
  hn::Vec<DotBytes> first, second;
};
HWY_INLINE Columns nibble_columns(const NibblesX16& nibbles, size_t i, size_t row) {
  const Words both = load_words(nibbles[i][row]);
  return {masked_bits<0, 15>(both), masked_bits<-4, 15>(both)};
}

// The products of some of a group's columns, with each term of the activations.
template <size_t kTerms>
struct Dots {
  Ints of[kTerms];

  HWY_INLINE Dots() {}  // NOLINT(modernize-use-equals-default): not compiled for the target
};

// Of columns(i), an eighth of a group; with a half, columns(2 half) and columns(2 half + 1), or the
// group, columns(0) to columns(3). `minus_sum(x)` is the factor of the offset's share, which is
// added once.
template <class W, size_t i, size_t kTerms, class MinusSum, class Get>
HWY_INLINE Dots<kTerms> dot_eight(const Group (&x)[kTerms], const MinusSum& minus_sum,
                                  const Get& columns) {
  const Columns w = columns(std::integral_constant<size_t, i>());
  Dots<kTerms> dots;
  HWY_UNROLL(2)
  for (size_t t = 0; t < kTerms; ++t)
    dots.of[t] = dot_bytes<W>(minus_sum(x[t]), w.first, x[t].template four<2 * i>(), w.second,
                              x[t].template four<2 * i + 1>());
  return dots;
}
template <size_t kTerms>
HWY_INLINE Dots<kTerms> add(const Dots<kTerms>& a, const Dots<kTerms>& b) {
  Dots<kTerms> sums;
  HWY_UNROLL(2)
  for (size_t t = 0; t < kTerms; ++t) sums.of[t] = hn::Add(a.of[t], b.of[t]);
  return sums;
}
template <class W, size_t half, size_t kTerms, class MinusSum, class Get>
HWY_INLINE Dots<kTerms> dot_half(const Group (&x)[kTerms], const MinusSum& minus_sum,
                                 const Get& columns) {
  const auto none = [](const Group&) HWY_ATTR { return hn::Zero(DotInts()); };
  const auto first = dot_eight<W, 2 * half>(x, minus_sum, columns);
  const auto second = dot_eight<W, 2 * half + 1>(x, none, columns);
  return add(first, second);
}
template <class W, size_t kTerms, class Get>
HWY_INLINE Dots<kTerms> dot_group(const Group (&x)[kTerms], const Get& columns) {
  const auto all = [](const Group& term) HWY_ATTR { return hn::Set(DotInts(), term.minus_sum()); };
  const auto none = [](const Group&) HWY_ATTR { return hn::Zero(DotInts()); };
  const auto first = dot_half<W, 0>(x, all, columns);
  const auto second = dot_half<W, 1>(x, none, columns);
  return add(first, second);
}
HWY_INLINE Floats add_scaled(Ints dot, Floats scale, Floats sum) {
  return hn::MulAdd(hn::ConvertTo(DotFloats(), dot), scale, sum);
}

// --- Formats: Block, the groups it has, and
//   add(block, g, row, x, sum) = sum + the products of group g of the rows from `row` on

// Where each group has a scale and that is all.
template <size_t kTerms>
HWY_INLINE Floats add_scaled(const Dots<kTerms>& dots, Floats scale, const Group (&x)[kTerms],
                             Floats sum) {
  HWY_UNROLL(2)
  for (size_t t = 0; t < kTerms; ++t)
    sum = add_scaled(dots.of[t], hn::Mul(scale, x[t].scale()), sum);
  return sum;
}

struct X16Q4_0 {
  using Block = BlockQ4_0_X16;
  static constexpr size_t kGroups = 1;
  template <size_t kTerms>
  static HWY_INLINE Floats add(const Block& block, size_t, size_t row, const Group (&x)[kTerms],
                               Floats sum) {
    const auto dots = dot_group<DotOffset6<8>>(
        x, [&](auto i) HWY_ATTR { return nibble_columns(block.qs, i, row); });
    return add_scaled(dots, load_f16(DotFloats(), block.d + row), x, sum);
  }
};

struct X16Q5_0 {
  using Block = BlockQ5_0_X16;
  static constexpr size_t kGroups = 1;
  template <size_t kTerms>
  static HWY_INLINE Floats add(const Block& block, size_t, size_t row, const Group (&x)[kTerms],
                               Floats sum) {
    const Words bits = load_words(block.qh[row]);
    const auto dots = dot_group<DotOffset6<16>>(x, [&](auto i) HWY_ATTR {
      const Columns low = nibble_columns(block.qs, i, row);
      constexpr int kBit = 2 * static_cast<int>(decltype(i)::value);
      return Columns{hn::Or(low.first, masked_bits<4 - kBit, 16>(bits)),
                     hn::Or(low.second, masked_bits<3 - kBit, 16>(bits))};
    });
    return add_scaled(dots, load_f16(DotFloats(), block.d + row), x, sum);
  }
};

struct X16Q8_0 {
  using Block = BlockQ8_0_X16;
  static constexpr size_t kGroups = 1;
  template <size_t kTerms>
  static HWY_INLINE Floats add(const Block& block, size_t, size_t row, const Group (&x)[kTerms],
                               Floats sum) {
    const auto dots = dot_group<DotSigned8>(x, [&](auto i) HWY_ATTR {
      return Columns{load_rows(block.qs[2 * i][row]), load_rows(block.qs[2 * i + 1][row])};
    });
    return add_scaled(dots, load_f16(DotFloats(), block.d + row), x, sum);
  }
};

struct X16Q4_K {
  using Block = BlockQ4_K_X16;
  static constexpr size_t kGroups = 8;
  template <size_t kTerms>
  static HWY_INLINE Floats add(const Block& block, size_t g, size_t row, const Group (&x)[kTerms],
                               Floats sum) {
    const DotFloats d;
    const auto dots = dot_group<DotUnsigned6>(
        x, [&](auto i) HWY_ATTR { return nibble_columns(block.qs[g], i, row); });
    const auto scale = hn::Mul(load_f16(d, block.d + row), load_small(block.scales[g] + row));
    const auto min = hn::Mul(load_f16(d, block.dmin + row), load_small(block.mins[g] + row));
    HWY_UNROLL(2)
    for (size_t t = 0; t < kTerms; ++t)
      sum =
          add_scaled(dots.of[t], hn::Mul(scale, x[t].scale()), hn::NegMulAdd(min, x[t].sum(), sum));
    return sum;
  }
};

struct X16Q6_K {
  using Block = BlockQ6_K_X16;
  static constexpr size_t kGroups = 8;
  template <size_t kTerms>
  static HWY_INLINE Floats add(const Block& block, size_t g, size_t row, const Group (&x)[kTerms],
                               Floats sum) {
    using W = DotOffset6<32>;
    const BlockQ6_K_X16::Group& group = block.groups[g];
    const Words bits[2] = {load_words(group.qh[0][row]), load_words(group.qh[1][row])};
    const auto columns = [&](auto i) HWY_ATTR {
      const Columns low = nibble_columns(group.ql, i, row);
      constexpr int kIndex = static_cast<int>(decltype(i)::value);
      const Words high = bits[kIndex / 2];
      constexpr int kShift = 4 - 4 * (kIndex % 2);  // of the first four's fields
      return Columns{hn::Or(low.first, masked_bits<kShift, 0x30>(high)),
                     hn::Or(low.second, masked_bits<kShift - 2, 0x30>(high))};
    };
    const auto minus_sum = [](size_t half) {
      return [half](const Group& term)
                 HWY_ATTR { return hn::Set(DotInts(), term.minus_sum(half)); };
    };
    const auto first = dot_half<W, 0>(x, minus_sum(0), columns);
    const auto second = dot_half<W, 1>(x, minus_sum(1), columns);
    const auto d = load_f16(DotFloats(), block.d + row);
    HWY_UNROLL(2)
    for (size_t t = 0; t < kTerms; ++t) {
      const auto factor = hn::Mul(d, x[t].scale());
      const auto scale = [&](size_t half) HWY_ATTR {
        return hn::Mul(factor, load_small(block.scales[2 * g + half] + row));
      };
      sum = add_scaled(second.of[t], scale(1), add_scaled(first.of[t], scale(0), sum));
    }
    return sum;
  }
};

// What keeps reads under way differs (ops/pack_weights/README.md). Zen 3 wants two streams of
// addresses, of two matrices or from both halves of the rows of one, and lines fetched ahead; Zen 4
// reads one stream as fast, and best when its prefetchers are left alone. What tells them apart
// here is AVX-512.
constexpr size_t kStreams = kFetchesToL1 ? 2 : 1;
constexpr size_t kAhead = kFetchesToL1 ? 1024 : 0;  // bytes; may reach past the weights

// Sixteen rows, whose blocks are walked one after the other.
template <class F>
struct SixteenRows {
  using Block = typename F::Block;
  static constexpr size_t kGroupBytes = sizeof(Block) / F::kGroups;
  const Block* block;
  Floats sums[kVectors];

  // An implicit one would not be compiled for the target.
  HWY_INLINE SixteenRows() {}  // NOLINT(modernize-use-equals-default)
  HWY_INLINE void start(const Block* first) {
    block = first;
    for (Floats& sum : sums) sum = hn::Zero(DotFloats());
  }
  // Adds the products with group g of the block.
  template <size_t kTerms>
  HWY_INLINE void add(size_t g, const Group (&x)[kTerms]) {
    if constexpr (kAhead != 0) {
      const auto* next = reinterpret_cast<const std::byte*>(block) + g * kGroupBytes + kAhead;
      for (size_t i = 0; i < kGroupBytes; i += 64) fetch_line(next + i);
    }
    HWY_UNROLL(4)
    for (size_t v = 0; v < kVectors; ++v) sums[v] = F::add(*block, g, v * kLanes, x, sums[v]);
    if (g + 1 == F::kGroups) ++block;
  }
  HWY_INLINE void store(float* HWY_RESTRICT out) const {
    HWY_UNROLL(4)
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[v], DotFloats(), out + v * kLanes);
  }
};

HWY_INLINE Group group_of(const Q8Chunk* x, size_t number) { return {x[number / 8], number % 8}; }

// Sixteen rows at `a` and, with kTwo, at `b`, side by side. kTerms: of the activations, the rounded
// ones and what the rounding left over.
template <class F, size_t kTerms, bool kTwo>
HWY_INLINE void multiply_rows(const MatVecRowsQ8& job, const typename F::Block* a, float* out_a,
                              const typename F::Block* b, float* out_b) {
  const size_t groups = job.cols / kQ8Elems, chunks = q8_chunks(job.cols);
  SixteenRows<F> first, second;
  first.start(a);
  if constexpr (kTwo) second.start(b);
  const auto add = [&](size_t number, const Group(&x)[kTerms]) HWY_ATTR {
    first.add(number % F::kGroups, x);
    if constexpr (kTwo) second.add(number % F::kGroups, x);
  };
  for (size_t g = 0; g < groups; ++g) {
    if constexpr (kTerms == 1)
      add(g, {group_of(job.x, g)});
    else
      add(g, {group_of(job.x, g), group_of(job.x + chunks, g)});
  }
  first.store(out_a);
  if constexpr (kTwo) second.store(out_b);
}

template <class F, size_t kTerms>
HWY_INLINE void mat_vec_x16(const MatVecRowsQ8& job) {
  const size_t blocks = job.cols / kQ8Elems / F::kGroups;
  const auto rows_of = [&](const std::byte* weight) {
    return reinterpret_cast<const typename F::Block*>(weight) + job.begin / kX16Rows * blocks;
  };
  const auto* rows = rows_of(job.weight);
  const size_t count = (job.end - job.begin) / kX16Rows;
  if (job.other_weight) {
    const auto* other = rows_of(job.other_weight);
    for (size_t at = 0; at < count; ++at)
      multiply_rows<F, kTerms, true>(job, rows + at * blocks, job.out + at * kX16Rows,
                                     other + at * blocks, job.other_out + at * kX16Rows);
    return;
  }
  const size_t half = kStreams == 2 ? count / 2 : 0;
  for (size_t at = 0; at < half; ++at)
    multiply_rows<F, kTerms, true>(job, rows + at * blocks, job.out + at * kX16Rows,
                                   rows + (at + half) * blocks, job.out + (at + half) * kX16Rows);
  for (size_t at = 2 * half; at < count; ++at)
    multiply_rows<F, kTerms, false>(job, rows + at * blocks, job.out + at * kX16Rows, nullptr,
                                    nullptr);
}
template <class F>
HWY_INLINE void mat_vec_x16(const MatVecRowsQ8& job) {
  if (job.terms == 2)
    mat_vec_x16<F, 2>(job);
  else
    mat_vec_x16<F, 1>(job);
}

#define DECANT_MAT_VEC(format, Format) \
  void mat_vec_##format##_x16(const MatVecRowsQ8& job) { mat_vec_x16<X16##Format>(job); }
DECANT_FOR_EACH_X16_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
#define DECANT_MAT_VEC(format, Format) HWY_EXPORT(mat_vec_##format##_x16);
DECANT_FOR_EACH_X16_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

void mat_vec_rows_x16(DType dtype, const MatVecRowsQ8& job) {
  switch (dtype) {
#define DECANT_MAT_VEC(format, Format) \
  case DType::k##Format##_X16:         \
    return HWY_DYNAMIC_DISPATCH(mat_vec_##format##_x16)(job);
    DECANT_FOR_EACH_X16_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
    default:
      fail(ErrorKind::kUnsupportedDtype, "mat_vec: dtype must be an x16 format, got {}",
           to_string(dtype));
  }
}
}  // namespace decant::cpu
#endif
