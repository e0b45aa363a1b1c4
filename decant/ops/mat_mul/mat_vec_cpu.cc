// Mat-vec: one token, or a few one after the other; see kernels/mat_vec.cc and mat_vec_q8.cc.
#include <algorithm>

#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/kernels/mat_vec.h"
#include "decant/kernels/mat_vec_q8.h"
#include "decant/ops/mat_mul/params.h"

namespace decant::cpu {
namespace {

void mat_vec(DType dtype, const CpuGroup& group) {
  const auto& p = group.params<MatMulParams>();
  const size_t begin = size_t{group.group.x} * p.group_rows;
  const size_t end = std::min<size_t>(begin + p.group_rows, p.rows);
  for (size_t t = 0; t < p.tokens; ++t)
    mat_vec_rows(dtype, {.weight = group.arg<const std::byte>(1),
                         .cols = p.cols,
                         .begin = begin,
                         .end = end,
                         .x = group.arg<const float>(2) + t * p.cols,
                         .out = group.arg<float>(3) + t * p.rows + begin,
                         .scratch = reinterpret_cast<float*>(group.shared)});
}

// A thread rounds the tokens once, for all its groups (0.1 us for 640 values): cheaper than a
// barrier. terms: 1 for 8 bits, 2 for 16.
void mat_vec_q8(DType dtype, const CpuGroup& group, uint32_t terms = 1) {
  const auto& p = group.params<MatMulParams>();
  const size_t begin = size_t{group.group.x} * p.group_rows;
  const size_t end = std::min<size_t>(begin + p.group_rows, p.rows);
  auto* const rounded = reinterpret_cast<Q8Chunk*>(group.shared);
  const size_t chunks = terms * q8_chunks(p.cols);
  const auto round = terms == 1 ? &round_to_q8 : &round_to_q16;
  if (!group.shared_kept)
    for (size_t t = 0; t < p.tokens; ++t)
      round(group.arg<const float>(2) + t * p.cols, p.cols, rounded + t * chunks);
  const auto multiply = is_x16(dtype) ? &mat_vec_rows_x16 : &mat_vec_rows_q8;
  for (size_t t = 0; t < p.tokens; ++t)
    multiply(dtype, {.weight = group.arg<const std::byte>(1),
                     .cols = p.cols,
                     .begin = begin,
                     .end = end,
                     .x = rounded + t * chunks,
                     .out = group.arg<float>(3) + t * p.rows + begin,
                     .terms = terms});
}

}  // namespace

#define DECANT_MAT_VEC(format, Format) \
  void mat_vec_##format##_f32(const CpuGroup& group) { mat_vec(DType::k##Format, group); }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

#define DECANT_MAT_VEC(format, Format) \
  void mat_vec_##format##_q8(const CpuGroup& group) { mat_vec_q8(DType::k##Format, group); }
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

#define DECANT_MAT_VEC(format, Format)                     \
  void mat_vec_##format##_x16_q8(const CpuGroup& group) {  \
    mat_vec_q8(DType::k##Format##_X16, group);             \
  }                                                        \
  void mat_vec_##format##_x16_q16(const CpuGroup& group) { \
    mat_vec_q8(DType::k##Format##_X16, group, 2);          \
  }
DECANT_FOR_EACH_X16_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC

}  // namespace decant::cpu
