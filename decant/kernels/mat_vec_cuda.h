// How the kernels of mat_vec.cuh are launched: what is the same for all ops that use them.
#ifndef DECANT_KERNELS_MAT_VEC_CUDA_H_
#define DECANT_KERNELS_MAT_VEC_CUDA_H_

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "decant/core/command_list.h"
#include "decant/core/device.h"
#include "decant/kernels/weight_format.h"

namespace decant::cuda {

// One to three matrices of `cols` columns.
struct MatVecProblem {
  uint32_t cols;
  std::array<uint32_t, 3> formats{kFormatNone, kFormatNone, kFormatNone};  // as DType
  std::array<uint32_t, 3> rows{};
  bool paired = false;  // the same rows of the first two are computed together
};

// The template arguments of MatVec, and the launch.
struct MatVecShape {
  uint32_t threads, team, rows, stages;
  bool next_early = false;  // the caller's hint
  Launch launch;

  void append_to(std::vector<KernelConstant>& constants) const;
  std::string suffix() const;  // for a variant's name
  // As far as code depends on it.
  std::strong_ordering operator<=>(const MatVecShape& other) const {
    return std::tie(threads, team, rows, stages, next_early) <=>
           std::tie(other.threads, other.team, other.rows, other.stages, other.next_early);
  }
  bool operator==(const MatVecShape& other) const { return std::is_eq(*this <=> other); }
};
MatVecShape mat_vec_shape(const MatVecProblem& problem, const DeviceInfo& device);

}  // namespace decant::cuda

#endif  // DECANT_KERNELS_MAT_VEC_CUDA_H_
