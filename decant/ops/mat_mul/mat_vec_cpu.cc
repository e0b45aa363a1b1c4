// Mat-vec: few tokens, so every weight is used once or a few times and memory is the limit.
//
// Bytes: rows * cols weights, once. Four rows at a time are unpacked chunk by chunk (256 weights)
// and multiplied while in L1; x stays in L1 too. Per 16 weights of one row, counted in operations
// of full vectors of 16 lanes: widen, convert, multiply-add, and 1/2 (or 1, sub-blocks of 16)
// multiply-add for the scale, plus the unpacking, 0 (q8_0) to 3. Minimums cost one operation for
// each chunk: their sum over a sub-block needs only the sum of its x, which is taken once a group.
#include <algorithm>

#include "decant/core/dtype.h"
#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/ops/mat_mul/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/mat_mul/mat_vec_cpu.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr size_t kRows = 4;
// Sub-block sums of a chunk of x: room for 16, so that vectors of any target fit.
constexpr size_t kChunkSums = 16;

// sum over i < kElems of q[i] * x[i], lane by lane, added to `sum`.
template <size_t kElems>
HWY_INLINE V dot_integers(const int8_t* HWY_RESTRICT q, const float* HWY_RESTRICT x, V sum) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<int8_t, D> di8;
  const V wide = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(di8, q)));
  sum = hn::MulAdd(wide, hn::LoadU(d, x), sum);
  constexpr size_t kLanes = hn::MaxLanes(D());
  if constexpr (kElems > kLanes) return dot_integers<kElems - kLanes>(q + kLanes, x + kLanes, sum);
  return sum;
}

template <class F>
HWY_INLINE V dot_sub_block(const Chunk& HWY_RESTRICT chunk, size_t s, const float* HWY_RESTRICT x,
                           V sum) {
  const D d;
  const V dot = dot_integers<F::kSubElems>(chunk.q + s * F::kSubElems, x, hn::Zero(d));
  return hn::MulAdd(hn::Set(d, chunk.scale[s]), dot, sum);
}

// Subtracts the minimums' share from `sum`.
template <class F>
HWY_INLINE V subtract_minimums(const Chunk& HWY_RESTRICT chunk, const float* HWY_RESTRICT x_sums,
                               V sum) {
  const D d;
  for (size_t s = 0; s < kChunkElems / F::kSubElems; s += hn::Lanes(d))
    sum = hn::NegMulAdd(hn::LoadU(d, chunk.min + s), hn::LoadU(d, x_sums + s), sum);
  return sum;
}

// The sums of x over each sub-block, kChunkSums for each chunk, 0 where there is no sub-block.
template <class F>
HWY_INLINE void sum_sub_blocks(const float* HWY_RESTRICT x, size_t cols, float* HWY_RESTRICT sums) {
  const hn::CappedTag<float, F::kSubElems> d;
  const size_t chunks = (cols + kChunkElems - 1) / kChunkElems;
  for (size_t i = 0; i < chunks * kChunkSums; ++i) {
    const size_t s = i % kChunkSums;
    const size_t at = i / kChunkSums * kChunkElems + s * F::kSubElems;
    auto sum = hn::Zero(d);
    if (s < kChunkElems / F::kSubElems && at < cols)
      for (size_t k = 0; k < F::kSubElems; k += hn::Lanes(d))
        sum = hn::Add(sum, hn::LoadU(d, x + at + k));
    sums[i] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

template <BlockFormat F>
HWY_INLINE void mat_vec(const CpuGroup& group, size_t row_bytes) {
  const D d;
  const auto& p = group.params<MatMulParams>();
  const std::byte* HWY_RESTRICT weight = group.arg<const std::byte>(1);
  const float* HWY_RESTRICT x = group.arg<const float>(2);
  float* HWY_RESTRICT out = group.arg<float>(3);
  float* HWY_RESTRICT x_sums = reinterpret_cast<float*>(group.shared);
  const size_t cols = p.cols;
  const size_t token_sums = (cols + kChunkElems - 1) / kChunkElems * kChunkSums;
  if constexpr (F::kHasMin)
    for (size_t t = 0; t < p.tokens; ++t)
      sum_sub_blocks<F>(x + t * cols, cols, x_sums + t * token_sums);

  Chunk chunks[kRows] = {};
  HWY_ALIGN float sums[kMatVecMaxTokens * kRows * hn::MaxLanes(d)];
  const size_t begin = size_t{group.group.x} * p.group_rows;
  const size_t end = std::min<size_t>(begin + p.group_rows, p.rows);
  for (size_t row = begin; row < end; row += kRows) {
    const std::byte* rows[kRows];
    for (size_t r = 0; r < kRows; ++r) rows[r] = weight + std::min(row + r, end - 1) * row_bytes;
    for (size_t i = 0; i < p.tokens * kRows; ++i)
      hn::Store(hn::Zero(d), d, sums + i * hn::Lanes(d));

    for (size_t at = 0; at < cols; at += kChunkElems) {
      const size_t elems = std::min(kChunkElems, cols - at);
      const size_t first_byte = at / F::kBlockElems * sizeof(typename F::Block);
      const size_t part_bytes = elems / F::kBlockElems * sizeof(typename F::Block);
      for (size_t r = 0; r < kRows; ++r) {
        unpack_row_part<F>(rows[r], at, elems, chunks[r]);
        // The same part of the row that is next but three. It may lie outside: no harm.
        const std::byte* next = rows[r] + kRows * row_bytes + first_byte;
        for (size_t b = 0; b < part_bytes; b += 64) hwy::Prefetch(next + b);
      }
      for (size_t t = 0; t < p.tokens; ++t) {
        const float* HWY_RESTRICT token_x = x + t * cols + at;
        float* HWY_RESTRICT s = sums + t * kRows * hn::Lanes(d);
        V sum0 = hn::Load(d, s), sum1 = hn::Load(d, s + hn::Lanes(d)),
          sum2 = hn::Load(d, s + 2 * hn::Lanes(d)), sum3 = hn::Load(d, s + 3 * hn::Lanes(d));
        for (size_t b = 0; b * F::kSubElems < elems; ++b) {
          const float* HWY_RESTRICT block_x = token_x + b * F::kSubElems;
          sum0 = dot_sub_block<F>(chunks[0], b, block_x, sum0);
          sum1 = dot_sub_block<F>(chunks[1], b, block_x, sum1);
          sum2 = dot_sub_block<F>(chunks[2], b, block_x, sum2);
          sum3 = dot_sub_block<F>(chunks[3], b, block_x, sum3);
        }
        if constexpr (F::kHasMin) {
          const float* HWY_RESTRICT m = x_sums + t * token_sums + at / kChunkElems * kChunkSums;
          sum0 = subtract_minimums<F>(chunks[0], m, sum0);
          sum1 = subtract_minimums<F>(chunks[1], m, sum1);
          sum2 = subtract_minimums<F>(chunks[2], m, sum2);
          sum3 = subtract_minimums<F>(chunks[3], m, sum3);
        }
        hn::Store(sum0, d, s);
        hn::Store(sum1, d, s + hn::Lanes(d));
        hn::Store(sum2, d, s + 2 * hn::Lanes(d));
        hn::Store(sum3, d, s + 3 * hn::Lanes(d));
      }
    }
    for (size_t t = 0; t < p.tokens; ++t)
      for (size_t r = 0; r < std::min(kRows, end - row); ++r)
        out[t * p.rows + row + r] =
            hn::GetLane(hn::SumOfLanes(d, hn::Load(d, sums + (t * kRows + r) * hn::Lanes(d))));
  }
}

// Plain formats: a row times a token at a time; f32 needs 64 bytes of memory for 16 weights, so
// little else matters.
template <class F>
HWY_INLINE void mat_vec(const CpuGroup& group, size_t row_bytes) {
  const D d;
  const auto& p = group.params<MatMulParams>();
  const std::byte* HWY_RESTRICT weight = group.arg<const std::byte>(1);
  float* HWY_RESTRICT out = group.arg<float>(3);
  const size_t begin = size_t{group.group.x} * p.group_rows;
  const size_t end = std::min<size_t>(begin + p.group_rows, p.rows);
  const size_t cols = p.cols, lanes = hn::Lanes(d);
  for (size_t row = begin; row < end; ++row)
    for (size_t t = 0; t < p.tokens; ++t) {
      using Elem = typename F::Elem;
      const Elem* HWY_RESTRICT w = reinterpret_cast<const Elem*>(weight + row * row_bytes);
      const float* HWY_RESTRICT x = group.arg<const float>(2) + t * cols;
      V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
      size_t i = 0;
      for (; i + 4 * lanes <= cols; i += 4 * lanes) {
        sum0 = hn::MulAdd(F::load(d, w + i), hn::LoadU(d, x + i), sum0);
        sum1 = hn::MulAdd(F::load(d, w + i + lanes), hn::LoadU(d, x + i + lanes), sum1);
        sum2 = hn::MulAdd(F::load(d, w + i + 2 * lanes), hn::LoadU(d, x + i + 2 * lanes), sum2);
        sum3 = hn::MulAdd(F::load(d, w + i + 3 * lanes), hn::LoadU(d, x + i + 3 * lanes), sum3);
      }
      for (; i + lanes <= cols; i += lanes)
        sum0 = hn::MulAdd(F::load(d, w + i), hn::LoadU(d, x + i), sum0);
      if (i < cols) {
        HWY_ALIGN Elem w_tail[hn::MaxLanes(d)] = {};
        HWY_ALIGN float x_tail[hn::MaxLanes(d)] = {};
        std::memcpy(w_tail, reinterpret_cast<const std::byte*>(w + i), (cols - i) * sizeof(Elem));
        std::memcpy(x_tail, x + i, (cols - i) * sizeof(float));
        sum1 = hn::MulAdd(F::load(d, w_tail), hn::Load(d, x_tail), sum1);
      }
      const V sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
      out[t * p.rows + row] = hn::GetLane(hn::SumOfLanes(d, sum));
    }
}

#define DECANT_MAT_VEC(format, Format)                                 \
  void mat_vec_##format##_f32(const CpuGroup& group) {                 \
    const size_t cols = group.params<MatMulParams>().cols;             \
    mat_vec<Weights##Format>(group, bytes_of(DType::k##Format, cols)); \
  }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
#define DECANT_MAT_VEC(format, Format)                   \
  HWY_EXPORT(mat_vec_##format##_f32);                    \
  void mat_vec_##format##_f32(const CpuGroup& group) {   \
    HWY_DYNAMIC_DISPATCH(mat_vec_##format##_f32)(group); \
  }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
}  // namespace decant::cpu
#endif
