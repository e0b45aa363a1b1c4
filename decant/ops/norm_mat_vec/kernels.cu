// See README.md, "CUDA kernel". Compiled for each variant with
//   DECANT_COLS                    columns
//   DECANT_FORMAT_0, _1, _2        formats of the weights (weight_dot.cuh), 255 for none
//   DECANT_DELTA, DECANT_GELU_MUL  whether there is a delta; whether the outputs are combined
//   DECANT_THREADS, DECANT_TEAM, DECANT_ROWS, DECANT_STAGES   as MatVec has them
//   DECANT_NEXT_EARLY              NormMatVecArgs::next_early
#include "decant/kernels/mat_vec.cuh"
#include "decant/ops/norm_mat_vec/params.h"

namespace decant {
namespace {

constexpr uint32_t kCols = DECANT_COLS, kThreads = DECANT_THREADS, kWarps = kThreads / 32;
constexpr bool kDelta = DECANT_DELTA, kGeluMul = DECANT_GELU_MUL;
constexpr bool kNextEarly = DECANT_NEXT_EARLY;

using Product = MatVec<kCols, DECANT_FORMAT_0, DECANT_FORMAT_1, DECANT_FORMAT_2, kGeluMul, kThreads,
                       DECANT_TEAM, DECANT_ROWS, DECANT_STAGES>;

// Chunks of 128 columns, a quad of columns a lane; the first kNormWarps warps do the norms.
constexpr uint32_t kChunks = Product::Vector::kChunks;
constexpr uint32_t kNormWarps = kChunks < kWarps ? kChunks : kWarps;
constexpr uint32_t kSlots = ceil_div(kChunks, kNormWarps);

__device__ float dot(float4 a, float4 b) { return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w; }
__device__ float4 times(float4 a, float4 b, float f) {
  return {a.x * f * b.x, a.y * f * b.y, a.z * f * b.z, a.w * f * b.w};
}

// Called by the norm warps. Every call needs its own `sums`.
__device__ float sum_of_all(float x, float (&sums)[kNormWarps]) {
  x = warp_sum(x);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = x;
  barrier_of_first<kNormWarps * 32>();
  x = 0;
#pragma unroll
  for (uint32_t i = 0; i < kNormWarps; ++i) x += sums[i];
  return x;
}
__device__ float inverse_rms(float squares, float eps) {
  return rsqrtf(squares * (1.0f / kCols) + eps);
}

__device__ void store_quad(float* to, uint32_t i, float4 v) {
  if constexpr (kCols % 4 == 0) {
    if (4 * i < kCols) reinterpret_cast<float4*>(to)[i] = v;
  } else {
    const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (uint32_t c = 0; c < 4; ++c)
      if (4 * i + c < kCols) to[4 * i + c] = values[c];
  }
}

// v sigmoid(2 u), which is 0.5 v (1 + tanh(u)).
__device__ float gelu_tanh(float v) {
  const float u = 0.7978845608f * (v + 0.044715f * v * v * v);
  return v / (1.0f + __expf(-2.0f * u));
}

}  // namespace
}  // namespace decant

using namespace decant;  // NOLINT: the file is a program of its own

// Grid: any number of blocks; they share the tiles.
extern "C" __global__ void __launch_bounds__(Product::kRegisterThreads, 1)
    norm_mat_vec(const NormMatVecParams value, const NormMatVecParams* in_buffer, const float* x,
                 const float* delta, const float* delta_weight, float* x_out,
                 const float* norm_weight, const uint8_t* weight0, const uint8_t* weight1,
                 const uint8_t* weight2, float* out0, float* out1, float* out2,
                 const NormMatVecLater later, const uint8_t* later0, const uint8_t* later1,
                 const uint8_t* later2, const uint8_t* later3) {
  NormMatVecParams p = value;
  if (in_buffer) p = *in_buffer;
  extern __shared__ __align__(16) uint8_t shared[];
  if constexpr (kNextEarly) let_next_start();
  const Product product(shared, weight0, p.rows[0], weight1, p.rows[1], weight2, p.rows[2]);
  product.start();
  if (threadIdx.x == kThreads - 1) {
    const uint8_t* const from[] = {later0, later1, later2, later3};
#pragma unroll
    for (uint32_t i = 0; i < kNormMatVecLater; ++i)
      if (later.bytes[i]) prefetch_to_l2(from[i], later.bytes[i], blockIdx.x, gridDim.x);
  }

  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  uint32_t chunks[kSlots];
#pragma unroll
  for (uint32_t s = 0; s < kSlots; ++s) chunks[s] = warp + s * kNormWarps;
  const auto quad_of = [&](uint32_t slot) { return chunks[slot] * 32 + lane; };
  float4 change_weight[kSlots], weight[kSlots];
  if (warp < kNormWarps) {
#pragma unroll
    for (uint32_t s = 0; s < kSlots; ++s) {
      weight[s] = load_quad<kCols, false>(norm_weight, quad_of(s));
      if constexpr (kDelta) change_weight[s] = load_quad<kCols, false>(delta_weight, quad_of(s));
    }
  }
  Product::Ahead ahead;
  product.prepare(ahead);
  // A loop of one turn, and from 1: NVRTC makes faster code of it than of straight code,
  // seemingly since it computes more before a loop, and so before the wait (models/gemma3).
#pragma unroll 1
  for (uint32_t turn = 1; turn < 2; ++turn) {
    if (turn == 1) {
      wait_for_previous();
      if constexpr (!kNextEarly) let_next_start();
    }

    if (warp < kNormWarps) {
      float4 residual[kSlots], change[kSlots];
#pragma unroll
      for (uint32_t s = 0; s < kSlots; ++s) {
        if constexpr (kDelta) change[s] = load_quad<kCols>(delta, quad_of(s));
        residual[s] = load_quad<kCols>(x, quad_of(s));
      }
      __shared__ float sums[2][kNormWarps];
      if constexpr (kDelta) {
        float squares = 0;
#pragma unroll
        for (uint32_t s = 0; s < kSlots; ++s) squares += dot(change[s], change[s]);
        const float factor = inverse_rms(sum_of_all(squares, sums[0]), p.eps);
#pragma unroll
        for (uint32_t s = 0; s < kSlots; ++s) {
          const float4 add = times(change[s], change_weight[s], factor);
          residual[s].x += add.x, residual[s].y += add.y;
          residual[s].z += add.z, residual[s].w += add.w;
        }
      }
      float squares = 0;
#pragma unroll
      for (uint32_t s = 0; s < kSlots; ++s) squares += dot(residual[s], residual[s]);
      const float factor = inverse_rms(sum_of_all(squares, sums[1]), p.eps);
      float4 normed[kSlots];
#pragma unroll
      for (uint32_t s = 0; s < kSlots; ++s) normed[s] = times(residual[s], weight[s], factor);
      product.x().put(chunks, normed);
      if (kDelta && blockIdx.x == 0)
#pragma unroll
        for (uint32_t s = 0; s < kSlots; ++s) store_quad(x_out, quad_of(s), residual[s]);
    }
    __syncthreads();

    if constexpr (kGeluMul) {
      product.run(ahead,
                  [=](uint32_t row, float gate, float up) { out0[row] = gelu_tanh(gate) * up; });
    } else {
      product.run(ahead, [=](uint32_t matrix, uint32_t row, float sum) {
        (matrix == 0 ? out0 : matrix == 1 ? out1 : out2)[row] = sum;
      });
    }
  }
}
