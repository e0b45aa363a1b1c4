// Mat-vec: weights are read once, so reading them is the limit; a simdgroup computes four rows.
// Mat-mul: a threadgroup of 128 computes 32 rows for 32 tokens, 32 columns at a time, from decoded
// weights and activations in threadgroup memory (9 KB); a thread keeps 4 x 2 sums.
#include <metal_stdlib>

#include "decant/kernels/metal/mat_vec.h"
#include "decant/ops/mat_mul/params.h"

using namespace metal;
using namespace decant;

// Grid: (rows / group_rows, tokens).
template <class Row>
kernel void mat_vec(constant MatMulParams& params [[buffer(0)]],
                    device const uchar* weight [[buffer(1)]], device const float* x [[buffer(2)]],
                    device float* out [[buffer(3)]], uint2 group [[threadgroup_position_in_grid]],
                    uint lane [[thread_index_in_simdgroup]],
                    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  const uint first_row = group.x * params.group_rows + simdgroup * kMatVecRows;
  const float4 sums = mat_vec_rows<Row>(weight, first_row, params.rows, params.cols,
                                        x + ulong(group.y) * params.cols, lane);
  if (lane < kMatVecRows && first_row + lane < params.rows)
    out[ulong(group.y) * params.rows + first_row + lane] = sums[lane];
}

// Grid: (rows / 32, tokens / 32), 128 threads.
constant constexpr uint kTile = kMatMulMetalTile;
constant constexpr uint kStride = kTile + 4;  // keeps columns apart in the banks

template <class Row>
kernel void mat_mul(constant MatMulParams& params [[buffer(0)]],
                    device const uchar* weight [[buffer(1)]], device const float* x [[buffer(2)]],
                    device float* out [[buffer(3)]], uint2 group [[threadgroup_position_in_grid]],
                    uint thread_index [[thread_index_in_threadgroup]]) {
  threadgroup float weights[kTile * kStride];      // [column][row]
  threadgroup float activations[kTile * kStride];  // [column][token]
  const uint first_row = group.x * kTile, first_token = group.y * kTile, cols = params.cols;
  // What this thread loads: eight columns of one row and of one token; those past the end repeat
  // the last, and what is computed of them is not stored.
  const uint loaded = thread_index / 4, columns = thread_index % 4 * 8;
  device const uchar* row = weight + min(first_row + loaded, params.rows - 1) * Row::bytes(cols);
  device const float* token = x + ulong(min(first_token + loaded, params.tokens - 1)) * cols;
  // And computes.
  const uint my_row = thread_index % 8 * 4, my_token = thread_index / 8 * 2;
  float sums[4][2] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}};
  for (uint begin = 0; begin < cols; begin += kTile) {
    float w[8], a[8];
    Row::load8(row, begin + columns, cols, w);
    load_activations8(token, begin + columns, cols, a);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint t = 0; t < 8; ++t) {
      weights[(columns + t) * kStride + loaded] = w[t];
      activations[(columns + t) * kStride + loaded] = a[t];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint c = 0; c < kTile; ++c)
      for (uint i = 0; i < 4; ++i)
        for (uint j = 0; j < 2; ++j)
          sums[i][j] = fma(weights[c * kStride + my_row + i],
                           activations[c * kStride + my_token + j], sums[i][j]);
  }
  for (uint j = 0; j < 2; ++j)
    for (uint i = 0; i < 4; ++i)
      if (first_token + my_token + j < params.tokens && first_row + my_row + i < params.rows)
        out[ulong(first_token + my_token + j) * params.rows + first_row + my_row + i] = sums[i][j];
}

typedef decltype(mat_vec<RowF32>) mat_vec_kernel;
typedef decltype(mat_mul<RowF32>) mat_mul_kernel;
#define DECANT_MAT_MUL(format, Format)                                                          \
  template [[host_name("mat_vec_" #format "_f32")]] kernel mat_vec_kernel mat_vec<Row##Format>; \
  template [[host_name("mat_mul_" #format "_f32")]] kernel mat_mul_kernel mat_mul<Row##Format>;
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
