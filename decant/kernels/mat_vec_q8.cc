// Integer products (dot_q8-inl.h) take less time than reading the weights does, so all that matters
// is that memory never waits: rows are taken as in mat_vec.cc, four at a time, each from another
// quarter of the group's, so that four streams of addresses are read at once.
#include "decant/kernels/mat_vec_q8.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/block_formats.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/kernels/mat_vec_q8.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/dot_q8-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

constexpr size_t kRows = 4;
constexpr size_t kPrefetchRows = 2;

template <BlockFormat F>
HWY_INLINE void mat_vec_q8(const MatVecRowsQ8& job, size_t row_bytes) {
  const size_t begin = job.begin, end = job.end;
  const size_t quarter = (end - begin + kRows - 1) / kRows;
  RowsQ8<F, kRows> sums;
  for (size_t row = begin; row < begin + quarter; ++row) {
    const std::byte* rows[kRows];
    for (size_t r = 0; r < kRows; ++r)
      rows[r] = job.weight + std::min(row + r * quarter, end - 1) * row_bytes;
    float four[kRows];
    sums.multiply(rows, job.cols, kPrefetchRows * row_bytes, job.x, four);
    for (size_t r = 0; r < kRows && row + r * quarter < end; ++r)
      job.out[row - begin + r * quarter] = four[r];
  }
}

#define DECANT_MAT_VEC(format, Format)                                      \
  void mat_vec_##format##_q8(const MatVecRowsQ8& job) {                     \
    mat_vec_q8<Weights##Format>(job, bytes_of(DType::k##Format, job.cols)); \
  }
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

void round_to_q8(const float* x, size_t cols, Q8Chunk* to) { quantize_row(x, cols, to); }

void round_to_q16(const float* x, size_t cols, Q8Chunk* to) {
  quantize_row(x, cols, to);
  constexpr size_t kElems = sizeof to->q;
  const hn::CappedTag<float, 16> d;
  const hn::Rebind<int8_t, decltype(d)> d8;
  Q8Chunk* HWY_RESTRICT rest = to + q8_chunks(cols);
  HWY_ALIGN float left[kElems];
  for (size_t at = 0; at < cols; at += kElems, ++to, ++rest) {
    const size_t elems = std::min(cols - at, kElems);
    for (size_t i = 0; i < elems; i += hn::Lanes(d)) {
      const size_t g = i / kQ8Elems;
      const int8_t* q = to->q + g / 4 * 128 + g % 4 * 16 + i % kQ8Elems / 16 * 64 + i % 16;
      const auto whole =
          hn::ConvertTo(d, hn::PromoteTo(hn::RebindToSigned<decltype(d)>(), hn::LoadU(d8, q)));
      hn::Store(hn::NegMulAdd(whole, hn::Set(d, to->scale32[g]), hn::LoadU(d, x + at + i)), d,
                left + i);
    }
    quantize_row(left, elems, rest);
  }
}

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
HWY_EXPORT(round_to_q8);
HWY_EXPORT(round_to_q16);
#define DECANT_MAT_VEC(format, Format) HWY_EXPORT(mat_vec_##format##_q8);
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

void round_to_q8(const float* x, size_t cols, Q8Chunk* to) {
  HWY_DYNAMIC_DISPATCH(round_to_q8)(x, cols, to);
}
void round_to_q16(const float* x, size_t cols, Q8Chunk* to) {
  HWY_DYNAMIC_DISPATCH(round_to_q16)(x, cols, to);
}

void mat_vec_rows_q8(DType dtype, const MatVecRowsQ8& job) {
  switch (dtype) {
#define DECANT_MAT_VEC(format, Format) \
  case DType::k##Format:               \
    return HWY_DYNAMIC_DISPATCH(mat_vec_##format##_q8)(job);
    DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
    default:
      fail(ErrorKind::kUnsupportedDtype, "mat_vec_q8: dtype must be a block format, got {}",
           to_string(dtype));
  }
}
}  // namespace decant::cpu
#endif
