// What norm_mat_vec.cc needs of the CPU kernel in cpu.cc.
#ifndef DECANT_OPS_NORM_MAT_VEC_CPU_H_
#define DECANT_OPS_NORM_MAT_VEC_CPU_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/kernel_registry.h"
#include "decant/kernels/mat_vec.h"
#include "decant/kernels/mat_vec_q8.h"
#include "decant/ops/norm_mat_vec/params.h"

namespace decant::cpu {

void norm_mat_vec(const CpuGroup& group);
// h is rounded to 8 bits for weights in a block format.
void norm_mat_vec_q8(const CpuGroup& group);

// A group's scratch: byte offsets of its parts, each a multiple of 64.
struct NormMatVecScratch {
  uint32_t h, x, mat_vec, gate, up, rounded;
  uint32_t bytes = 0;

  NormMatVecScratch(const NormMatVecParams& p, bool q8) {
    const auto take = [this](size_t floats) {
      const uint32_t at = bytes;
      bytes += static_cast<uint32_t>((floats * sizeof(float) + 63) / 64 * 64);
      return at;
    };
    h = take(p.cols);
    x = take(p.has_delta ? p.cols : 0);
    mat_vec = take(mat_vec_scratch_floats(p.cols));
    gate = take(p.gelu_mul ? p.group_rows[0] : 0);
    up = take(p.gelu_mul ? p.group_rows[0] : 0);
    rounded = take(q8 ? q8_bytes(p.cols) / sizeof(float) : 0);
  }
};

}  // namespace decant::cpu

#endif  // DECANT_OPS_NORM_MAT_VEC_CPU_H_
