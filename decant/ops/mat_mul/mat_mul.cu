// Many tokens, block formats. See README.md, "CUDA kernels". Compiled for each variant with
//   DECANT_COLS, DECANT_FORMAT   columns and format of the weight (weight_dot.cuh)
//
// mat_mul_activations turns x into integers once: for each token and 32 columns 96 bytes, 32 of
// hi, mid and lo each, and {scale, sum, sums of 16}. Words 0, 4, 1, 5, 2, 6, 3, 7 follow each
// other, so that a lane's two operand words of a product are neighbours.
//
// mat_mul: a block computes 64 rows for 64 tokens, in steps of 128 columns. A step's bytes of the
// weights come to shared memory as they are, together with the activations, while the step before
// is multiplied; each thread unpacks 32 weights to bytes; 16 warps multiply 16 tokens by 16 rows
// each on integer matrix units, 32 columns a product, whose exact sums are scaled and added in f32.
#include "decant/kernels/mat_vec.cuh"
#include "decant/ops/mat_mul/params.h"

namespace decant {
namespace {

constexpr uint32_t kCols = DECANT_COLS, kFormat = DECANT_FORMAT;
constexpr uint32_t kItems = kCols / 32;
constexpr uint32_t kTokens = 64, kRows = 64, kThreads = 512;
// A warp multiplies 16 tokens by kRowTiles x 8 rows.
constexpr uint32_t kRowWarps = kThreads / 32 / (kTokens / 16), kRowTiles = kRows / 8 / kRowWarps;
constexpr uint32_t kItemBytes = 96;  // of 32 activations
constexpr uint32_t kStepItems = 4, kSteps = ceil_div(kItems, kStepItems);

using Block = WeightBlock<kFormat>;
constexpr uint32_t kBlockItems = format_block_elems(kFormat) / 32;
constexpr uint32_t kBlockBytes = format_block_bytes(kFormat);
// Of a row and a step: four blocks of 32, or the block of 256 that the step lies in.
constexpr uint32_t kRawBytes = kBlockItems == 1 ? kStepItems * kBlockBytes : kBlockBytes;
constexpr uint32_t kRawChunks = ceil_div(kRawBytes + 15, 16);

// Pitches that keep 8-byte reads of four neighbouring rows in different banks.
constexpr uint32_t kXPitch = kStepItems * kItemBytes + 32, kWPitch = kStepItems * 32 + 32;
constexpr uint32_t kRawPitch = (kRawChunks + 1 + kRawChunks % 2) * 16;  // an odd number of 16s

struct Stage {
  uint8_t x[kTokens * kXPitch];
  float4 x_scales[kTokens * kStepItems];
  uint8_t raw[kRows * kRawPitch];
};
struct Shared {
  Stage stages[2];
  uint8_t w[kRows * kWPitch];
  // [item][row]: scale and min, or two of each.
  float scales[kStepItems * kRows * (Block::kHalves ? 4 : 2)];
};

__device__ void multiply_32(int (&c)[4], uint2 a0, uint2 a1, uint2 b) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0.x), "r"(a1.x), "r"(a0.y), "r"(a1.y), "r"(b.x), "r"(b.y));
}
__device__ void multiply_16(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t b) {
  asm("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(b));
}

// Where word i of 32 bytes lies.
__device__ constexpr uint32_t place(uint32_t i) { return i < 4 ? 2 * i : 2 * (i - 4) + 1; }

struct Operands {
  const uint8_t* weight;
  const uint8_t* x;
  const float4* x_scales;
  uint32_t rows, tokens, first_row, first_token;

  __device__ uint64_t row_at(uint32_t row, uint32_t item) const {
    return reinterpret_cast<uint64_t>(weight) +
           uint64_t{min(first_row + row, rows - 1)} * kRowBytes<kFormat, kCols> +
           item / kBlockItems * kBlockBytes;
  }

  __device__ void start(Stage& stage, uint32_t step) const {
    constexpr uint32_t kParts = kItemBytes / 16;
    const uint32_t item = step * kStepItems;
    for (uint32_t i = threadIdx.x; i < kTokens * kStepItems * kParts; i += kThreads) {
      const uint32_t token = i / (kStepItems * kParts), part = i % (kStepItems * kParts);
      const uint64_t from = uint64_t{min(first_token + token, tokens - 1)} * kItems + item;
      const bool exists = item + part / kParts < kItems;
      copy_async_16(stage.x + token * kXPitch + part * 16,
                    x + (exists ? from * kItemBytes + part * 16 : 0), exists ? 16 : 0);
    }
    if (threadIdx.x < kTokens * kStepItems) {
      const uint32_t token = threadIdx.x / kStepItems, part = threadIdx.x % kStepItems;
      const uint64_t from = uint64_t{min(first_token + token, tokens - 1)} * kItems + item;
      const bool exists = item + part < kItems;
      copy_async_16(stage.x_scales + threadIdx.x, x_scales + (exists ? from + part : 0),
                    exists ? 16 : 0);
    }
    const uint64_t begin = reinterpret_cast<uint64_t>(weight);
    const uint64_t end = begin + uint64_t{rows} * kRowBytes<kFormat, kCols>;
    for (uint32_t i = threadIdx.x; i < kRows * kRawChunks; i += kThreads) {
      const uint32_t row = i / kRawChunks, chunk = i % kRawChunks;
      const uint64_t at = (row_at(row, item) & ~uint64_t{15}) + chunk * 16;
      if (at < end) copy_async_clipped(stage.raw + row * kRawPitch + chunk * 16, at, begin, end);
    }
  }
};
static_assert(kTokens * kStepItems <= kThreads && kRows * kStepItems <= kThreads);

// Each thread 32 weights.
__device__ void unpack(Shared& shared, const Stage& stage, const Operands& of, uint32_t step) {
  if (threadIdx.x >= kRows * kStepItems) return;
  const uint32_t row = threadIdx.x / kStepItems, part = threadIdx.x % kStepItems;
  const uint32_t first = step * kStepItems, item = first + part;
  Weights32 w{};
  if (item < kItems) {
    const uint8_t* from = stage.raw + row * kRawPitch + (of.row_at(row, first) & 15);
    w = kBlockItems == 1 ? Block::unpack(from + part * kBlockBytes, 0)
                         : Block::unpack(from, item % kBlockItems);
  }
  uint4* to = reinterpret_cast<uint4*>(shared.w + row * kWPitch + part * 32);
  to[0] = {w.q[0], w.q[4], w.q[1], w.q[5]};
  to[1] = {w.q[2], w.q[6], w.q[3], w.q[7]};
  if constexpr (Block::kHalves)
    reinterpret_cast<float4*>(shared.scales)[part * kRows + row] = {w.scale[0], w.min[0],
                                                                    w.scale[1], w.min[1]};
  else
    reinterpret_cast<float2*>(shared.scales)[part * kRows + row] = {w.scale[0], w.min[0]};
}

// acc: [8 rows each][(token g, row 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)].
__device__ void multiply(const Shared& shared, const Stage& stage, float (&acc)[kRowTiles][4]) {
  const uint32_t warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const uint32_t token = warp / kRowWarps * 16 + g, first_row = warp % kRowWarps * 8 * kRowTiles;
  // More at once spill on sm_80.
  constexpr uint32_t kUnroll = __CUDA_ARCH__ < 900 ? 1 : kStepItems;
#pragma unroll kUnroll
  for (uint32_t item = 0; item < kStepItems; ++item) {
    const auto x_words = [&](uint32_t which, uint32_t offset) {
      return *reinterpret_cast<const uint2*>(stage.x + which * kXPitch + item * kItemBytes +
                                             offset + t * 8);
    };
    const uint2 hi0 = x_words(token, 0), hi1 = x_words(token + 8, 0);
    const uint2 mid0 = x_words(token, 32), mid1 = x_words(token + 8, 32);
    const uint2 lo0 = x_words(token, 64), lo1 = x_words(token + 8, 64);
    const float4 scales0 = stage.x_scales[token * kStepItems + item];
    const float4 scales1 = stage.x_scales[(token + 8) * kStepItems + item];
#pragma unroll
    for (uint32_t n = 0; n < kRowTiles; ++n) {
      const uint32_t row = first_row + n * 8;
      const uint2 w =
          *reinterpret_cast<const uint2*>(shared.w + (row + g) * kWPitch + item * 32 + t * 8);
      const auto add = [&](const int(&hi)[4], const int(&mid)[4], const int(&lo)[4],
                           float4 scale_min, float sum0, float sum1) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          const float scale = i % 2 ? scale_min.z : scale_min.x;
          const float min = i % 2 ? scale_min.w : scale_min.y;
          const float x_scale = i < 2 ? scales0.x : scales1.x;
          acc[n][i] = fmaf(sum_of_parts(hi[i], mid[i], lo[i]), scale * x_scale, acc[n][i]);
          if constexpr (Block::kHasMin) acc[n][i] = fmaf(-min, i < 2 ? sum0 : sum1, acc[n][i]);
        }
      };
      if constexpr (Block::kHalves) {
        const float4* scales =
            reinterpret_cast<const float4*>(shared.scales) + item * kRows + row + 2 * t;
        const float4 s0 = scales[0], s1 = scales[1];
        int hi[4] = {}, mid[4] = {}, lo[4] = {};
        multiply_16(hi, hi0.x, hi1.x, w.x);
        multiply_16(mid, mid0.x, mid1.x, w.x);
        multiply_16(lo, lo0.x, lo1.x, w.x);
        add(hi, mid, lo, {s0.x, s0.y, s1.x, s1.y}, scales0.z, scales1.z);
        int hi_2[4] = {}, mid_2[4] = {}, lo_2[4] = {};
        multiply_16(hi_2, hi0.y, hi1.y, w.y);
        multiply_16(mid_2, mid0.y, mid1.y, w.y);
        multiply_16(lo_2, lo0.y, lo1.y, w.y);
        add(hi_2, mid_2, lo_2, {s0.z, s0.w, s1.z, s1.w}, scales0.w, scales1.w);
      } else {
        const float4 s = *reinterpret_cast<const float4*>(
            reinterpret_cast<const float2*>(shared.scales) + item * kRows + row + 2 * t);
        int hi[4] = {}, mid[4] = {}, lo[4] = {};
        multiply_32(hi, hi0, hi1, w);
        multiply_32(mid, mid0, mid1, w);
        multiply_32(lo, lo0, lo1, w);
        add(hi, mid, lo, s, scales0.y, scales1.y);
      }
    }
  }
}

}  // namespace
}  // namespace decant

using namespace decant;  // NOLINT: the file is a program of its own

// Grid: (any number of blocks). A warp takes 128 columns of a token at a time.
extern "C" __global__ void __launch_bounds__(256)
    mat_mul_activations(const MatMulParams value, const MatMulParams* in_buffer, const float* x,
                        uint8_t* words, float4* scales) {
  MatMulParams p = value;
  if (in_buffer) p = *in_buffer;
  wait_for_previous();
  let_next_start();
  constexpr uint32_t kChunks = ceil_div(kCols, 128);
  const uint32_t lane = threadIdx.x % 32;
  for (uint32_t i = blockIdx.x * 8 + threadIdx.x / 32; i < p.tokens * kChunks; i += gridDim.x * 8) {
    const uint32_t token = i / kChunks, chunk = i % kChunks;
    const QuadOf32 q =
        quantize_quad(load_quad<kCols>(x + uint64_t{token} * kCols, chunk * 32 + lane));
    const uint32_t item = chunk * 4 + lane / 8, quad = lane % 8;
    if (item >= kItems) continue;
    const uint64_t at = uint64_t{token} * kItems + item;
    uint32_t* to = reinterpret_cast<uint32_t*>(words + at * kItemBytes);
    to[place(quad)] = q.hi;
    to[8 + place(quad)] = q.mid;
    to[16 + place(quad)] = q.lo;
    if (quad == 0) scales[at] = q.scales();
  }
}

// Grid: (rows / 64, tokens / 64), rounded up.
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    mat_mul(const MatMulParams value, const MatMulParams* in_buffer, const uint8_t* weight,
            const uint8_t* words, const float4* scales, float* out) {
  MatMulParams p = value;
  if (in_buffer) p = *in_buffer;
  extern __shared__ __align__(16) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const Operands of{
      weight, words, scales, p.rows, p.tokens, blockIdx.x * kRows, blockIdx.y * kTokens};
  wait_for_previous();
  let_next_start();

  float acc[kRowTiles][4] = {};
  of.start(shared.stages[0], 0);
  copy_async_commit();
  for (uint32_t step = 0; step < kSteps; ++step) {
    if (step + 1 < kSteps) of.start(shared.stages[(step + 1) % 2], step + 1);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    unpack(shared, shared.stages[step % 2], of, step);
    __syncthreads();
    multiply(shared, shared.stages[step % 2], acc);
    __syncthreads();
  }

  const uint32_t warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (uint32_t n = 0; n < kRowTiles; ++n)
#pragma unroll
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t token = of.first_token + warp / kRowWarps * 16 + g + i / 2 * 8;
      const uint32_t row = of.first_row + (warp % kRowWarps * kRowTiles + n) * 8 + 2 * t + i % 2;
      if (token < p.tokens && row < p.rows) out[uint64_t{token} * p.rows + row] = acc[n][i];
    }
}
