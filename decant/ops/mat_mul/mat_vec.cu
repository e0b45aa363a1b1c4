// One token, or a few, each a row of the grid. See README.md, "CUDA kernels". Compiled for each
// variant with
//   DECANT_COLS, DECANT_FORMAT    columns and format of the weight (weight_dot.cuh)
//   DECANT_THREADS, DECANT_TEAM, DECANT_ROWS, DECANT_STAGES   as MatVec has them
//   DECANT_NEXT_EARLY             MatMulArgs::next_early
#include "decant/kernels/mat_vec.cuh"
#include "decant/ops/mat_mul/params.h"

namespace decant {
namespace {

constexpr uint32_t kCols = DECANT_COLS, kThreads = DECANT_THREADS, kWarps = kThreads / 32;
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
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  x += uint64_t{blockIdx.y} * kCols;
  out += uint64_t{blockIdx.y} * p.rows;
  wait_for_previous();
  if constexpr (!kNextEarly) let_next_start();

  constexpr uint32_t kChunks = Product::Vector::kChunks, kOwn = ceil_div(kChunks, kWarps);
  float4 quads[kOwn];
#pragma unroll
  for (uint32_t s = 0; s < kOwn; ++s)
    quads[s] = load_quad<kCols>(x, (warp + s * kWarps) * 32 + lane);
#pragma unroll
  for (uint32_t s = 0; s < kOwn; ++s)
    if (warp + s * kWarps < kChunks) product.x().put(warp + s * kWarps, quads[s]);
  __syncthreads();
  product.run([=](uint32_t, uint32_t row, float sum) { out[row] = sum; });
}
