// Every weight is used once, so memory is the limit: rows * cols weights are read once, x and the
// sums stay in L1.
//
// Four rows at a time, each from another quarter of the rows: four streams of addresses
// keep twice as many reads under way as one, which stalls wherever a page ends. Step by step (32 to
// 128 weights of each row): unpack the integers to a chunk, which is in L1, and multiply them.
// Counted in vector operations of 16 lanes for 16 weights of one row: widen, convert, multiply-add,
// and 1/2 (sub-blocks of 32) or 1 (of 16) multiply-add with the scale; unpacking adds 0 (q8_0)
// to 3. Minimums cost one operation a chunk: their sum over a sub-block needs only the sum of its
// x, which is taken once a group.
#include "decant/kernels/mat_vec.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/block_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/kernels/mat_vec.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/weights-inl.h"
#include "decant/kernels/fetch-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
constexpr size_t kRows = 4;
constexpr size_t kPrefetchRows = 2;

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

// The sums of x over each sub-block, kMatVecChunkSums for each chunk, so that vectors of any target
// fit; 0 where there is no sub-block.
template <class F>
HWY_INLINE void sum_sub_blocks(const float* HWY_RESTRICT x, size_t cols, float* HWY_RESTRICT sums) {
  const hn::CappedTag<float, F::kSubElems> d;
  const size_t chunks = (cols + kChunkElems - 1) / kChunkElems;
  for (size_t i = 0; i < chunks * kMatVecChunkSums; ++i) {
    const size_t s = i % kMatVecChunkSums;
    const size_t at = i / kMatVecChunkSums * kChunkElems + s * F::kSubElems;
    auto sum = hn::Zero(d);
    if (s < kChunkElems / F::kSubElems && at < cols)
      for (size_t k = 0; k < F::kSubElems; k += hn::Lanes(d))
        sum = hn::Add(sum, hn::LoadU(d, x + at + k));
    sums[i] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

// Four rows of weights, unpacked chunk by chunk, and the sums of their products.
template <BlockFormat F>
struct FourRows {
  using Block = typename F::Block;
  const std::byte* rows[kRows];
  size_t row_bytes;
  Chunk chunks[kRows];

  // Scales of the chunk from column `at` on; and prefetches the same part of the row after next of
  // each stream. Those may lie outside the weights: no harm.
  HWY_INLINE void unpack_scales(size_t at, size_t elems, const Block** blocks) {
    HWY_UNROLL(4)
    for (size_t r = 0; r < kRows; ++r) {
      blocks[r] = blocks_at<F>(rows[r], at);
      F::unpack_scales(blocks[r], elems / F::kBlockElems, chunks[r]);
      const auto* next = reinterpret_cast<const std::byte*>(blocks[r]) + kPrefetchRows * row_bytes;
      for (size_t i = 0; i < elems / F::kBlockElems * sizeof(Block); i += 64) fetch_line(next + i);
    }
  }

  HWY_INLINE void unpack_step(const Block* const* blocks, size_t step) {
    HWY_UNROLL(4)
    for (size_t r = 0; r < kRows; ++r)
      F::unpack_step(blocks[r], step, chunks[r].q + step * F::kStepElems);
  }

  // sums[r] += the products of the chunk from column `at` on. Each step is used as soon as it is
  // unpacked, so that both kinds of work overlap.
  HWY_INLINE void multiply(size_t at, size_t elems, const float* HWY_RESTRICT x,
                           const float* HWY_RESTRICT x_sums, V& sum0, V& sum1, V& sum2, V& sum3) {
    const Block* blocks[kRows];
    unpack_scales(at, elems, blocks);
    for (size_t step = 0; step * F::kStepElems < elems; ++step) {
      unpack_step(blocks, step);
      for (size_t i = 0; i < F::kStepElems; i += F::kSubElems) {
        const size_t s = (step * F::kStepElems + i) / F::kSubElems;
        const float* HWY_RESTRICT sub_x = x + at + s * F::kSubElems;
        sum0 = dot_sub_block<F>(chunks[0], s, sub_x, sum0);
        sum1 = dot_sub_block<F>(chunks[1], s, sub_x, sum1);
        sum2 = dot_sub_block<F>(chunks[2], s, sub_x, sum2);
        sum3 = dot_sub_block<F>(chunks[3], s, sub_x, sum3);
      }
    }
    if constexpr (F::kHasMin) {
      const float* HWY_RESTRICT chunk_x_sums = x_sums + at / kChunkElems * kMatVecChunkSums;
      sum0 = subtract_minimums<F>(chunks[0], chunk_x_sums, sum0);
      sum1 = subtract_minimums<F>(chunks[1], chunk_x_sums, sum1);
      sum2 = subtract_minimums<F>(chunks[2], chunk_x_sums, sum2);
      sum3 = subtract_minimums<F>(chunks[3], chunk_x_sums, sum3);
    }
  }
};

template <BlockFormat F>
HWY_INLINE void mat_vec(const MatVecRows& job, size_t row_bytes) {
  const D d;
  const size_t cols = job.cols, begin = job.begin, end = job.end;
  const float* HWY_RESTRICT x = job.x;
  float* HWY_RESTRICT x_sums = job.scratch;
  if constexpr (F::kHasMin) sum_sub_blocks<F>(x, cols, x_sums);
  FourRows<F> four{.rows = {}, .row_bytes = row_bytes, .chunks = {}};
  // Four streams a quarter of the rows apart.
  const size_t quarter = (end - begin + kRows - 1) / kRows;
  for (size_t row = begin; row < begin + quarter; ++row) {
    for (size_t r = 0; r < kRows; ++r)
      four.rows[r] = job.weight + std::min(row + r * quarter, end - 1) * row_bytes;
    V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    // Whole chunks, and the half one of widths like 640 and 1152, with a constant size, so that
    // their loops unroll.
    size_t at = 0;
    for (; at + kChunkElems <= cols; at += kChunkElems)
      four.multiply(at, kChunkElems, x, x_sums, sum0, sum1, sum2, sum3);
    if constexpr (F::kBlockElems < kChunkElems) {
      if (cols - at == kChunkElems / 2)
        four.multiply(at, kChunkElems / 2, x, x_sums, sum0, sum1, sum2, sum3);
      else if (at < cols)
        four.multiply(at, cols - at, x, x_sums, sum0, sum1, sum2, sum3);
    }
    HWY_ALIGN float sums[kRows] = {
        hn::GetLane(hn::SumOfLanes(d, sum0)), hn::GetLane(hn::SumOfLanes(d, sum1)),
        hn::GetLane(hn::SumOfLanes(d, sum2)), hn::GetLane(hn::SumOfLanes(d, sum3))};
    for (size_t r = 0; r < kRows && row + r * quarter < end; ++r)
      job.out[row - begin + r * quarter] = sums[r];
  }
}

// Plain formats: f32 needs 64 bytes of memory for 16 weights, so little else matters.
template <class F>
HWY_INLINE void mat_vec(const MatVecRows& job, size_t row_bytes) {
  using Elem = typename F::Elem;
  const D d;
  const size_t cols = job.cols, lanes = hn::Lanes(d);
  const float* HWY_RESTRICT x = job.x;
  for (size_t row = job.begin; row < job.end; ++row) {
    const Elem* HWY_RESTRICT w = reinterpret_cast<const Elem*>(job.weight + row * row_bytes);
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
    job.out[row - job.begin] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

#define DECANT_MAT_VEC(format, Format)                                   \
  void mat_vec_##format(const MatVecRows& job) {                         \
    mat_vec<Weights##Format>(job, bytes_of(DType::k##Format, job.cols)); \
  }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
#define DECANT_MAT_VEC(format, Format) HWY_EXPORT(mat_vec_##format);
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

void mat_vec_rows(DType dtype, const MatVecRows& job) {
  switch (dtype) {
#define DECANT_MAT_VEC(format, Format) \
  case DType::k##Format:               \
    return HWY_DYNAMIC_DISPATCH(mat_vec_##format)(job);
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
    default:
      fail(ErrorKind::kUnsupportedDtype, "mat_vec: dtype must be {}, got {}", kWeightFormatNames,
           to_string(dtype));
  }
}
}  // namespace decant::cpu
#endif
