// One token, or a few, each a row of the grid. See README.md, "CUDA kernels". Compiled for each
// variant with
//   DECANT_COLS, DECANT_FORMAT    columns and format of the weight (weight_dot.cuh)
//   DECANT_THREADS, DECANT_TEAM, DECANT_ROWS, DECANT_STAGES   as MatVec has them
//   DECANT_NEXT_EARLY             MatMulArgs::next_early
#include "decant/kernels/mat_vec.cuh"
#include "decant/ops/mat_mul/params.h"

namespace decant {
namespace {

constexpr uint32_t kCols = DECANT_COLS, kThreads = DECANT_THREADS;
constexpr bool kNextEarly = DECANT_NEXT_EARLY;

using Product = MatVec<kCols, DECANT_FORMAT, kFormatNone, kFormatNone, false, kThreads, DECANT_TEAM,
                       DECANT_ROWS, DECANT_STAGES>;

}  // namespace
}  // namespace decant

using namespace decant;  // NOLINT: the file is a program of its own

// Grid: (any number of blocks, tokens).
extern "C" __global__ void __launch_bounds__(Product::kRegisterThreads, 1)
    mat_vec(const MatMulParams value, const MatMulParams* in_buffer, const uint8_t* weight,
            const float* x, float* out) {
  MatMulParams p = value;
  if (in_buffer) p = *in_buffer;
  extern __shared__ __align__(16) uint8_t shared[];
  if constexpr (kNextEarly) let_next_start();
  const Product product(shared, weight, p.rows, nullptr, 0, nullptr, 0);
  product.start();
  Product::Ahead ahead;
  product.prepare(ahead);
  x += uint64_t{blockIdx.y} * kCols;
  out += uint64_t{blockIdx.y} * p.rows;
  // A loop of one turn, and from 1: NVRTC makes faster code of it than of straight code,
  // seemingly since it computes more before a loop, and so before the wait (models/gemma3).
#pragma unroll 1
  for (uint32_t turn = 1; turn < 2; ++turn) {
    if (turn == 1) {
      wait_for_previous();
      if constexpr (!kNextEarly) let_next_start();
    }

    put_vector<kCols, kThreads>(product.x(), x);
    __syncthreads();
    product.run(ahead, [=](uint32_t, uint32_t row, float sum) {
      if (turn == 1) out[row] = sum;
    });
  }
}
