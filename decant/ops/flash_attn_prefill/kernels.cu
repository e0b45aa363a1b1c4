// See README.md, "CUDA kernel". Compiled for each variant with
//   DECANT_HEAD_DIM   a multiple of 32, at most 256
//
// The query heads of a KV head are stacked: row r is token r / group of the new ones and head
// r % group. A block takes 64 rows, a warp 16 of them, and goes through the keys that any of them
// attends in tiles of 32, the next tile on its way while one is used. q and the weights enter the
// products as two f16 halves, so that these are as exact as f32 sums are; every row of q is scaled
// by a power of two that keeps it inside f16. Of an infinity in K or V the halves make a NaN where
// one of them is 0 or of the other sign, so results that are NaN are computed again without halves.
#include "decant/kernels/attention.h"
#include "decant/kernels/mma.cuh"
#include "decant/kernels/ptx.cuh"
#include "decant/kernels/softmax_sum.cuh"
#include "decant/ops/flash_attn_prefill/params.h"

namespace decant {
namespace {

constexpr uint32_t kDim = DECANT_HEAD_DIM, kRows = 64, kKeys = 32, kThreads = 128;
constexpr uint32_t kStrips = kDim / 32, kOutTiles = kDim / 8, kChunks = kDim / 8;
// In f16. Reads of q and k are 16 bytes a lane, two rows at a time; v is read in 8 x 8 matrices.
constexpr uint32_t kQkPitch = kDim + 32, kVPitch = kDim + 8;
static_assert(kDim % 32 == 0 && kDim <= 256);

struct Stage {
  uint16_t k[kKeys * kQkPitch], v[kKeys * kVPitch];
};
struct Shared {
  uint16_t q[2][kRows * kQkPitch];  // high and low halves
  float back[kRows];                // undoes a row's power of two
  Stage stages[2];
};

// Which keys, in logical order, a token attends: [first, last].
struct Keys {
  uint32_t older, window;  // window 0: none
  __device__ uint32_t last(uint32_t token) const { return older + token; }
  __device__ uint32_t first(uint32_t token) const {
    return window && last(token) + 1 > window ? last(token) + 1 - window : 0;
  }
  __device__ bool attends(uint32_t token, uint32_t key) const {
    return key <= last(token) && key >= first(token);
  }
};

__device__ uint4 quad_of_dims(const uint16_t* rows, uint32_t row, uint32_t strip) {
  return *reinterpret_cast<const uint4*>(rows + row * kQkPitch + strip * 32 + threadIdx.x % 4 * 8);
}

// Two tiles of 8 dims of values as operands: 16 keys from `key` on.
__device__ void load_values(const uint16_t* v, uint32_t key, uint32_t dim, uint32_t (&b)[4]) {
  const uint32_t lane = threadIdx.x % 32;
  const uint16_t* row = v + (key + lane % 16) * kVPitch + dim + lane / 16 * 8;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(b[0]), "=r"(b[1]), "=r"(b[2]), "=r"(b[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ bool is_finite_f16(uint16_t bits) { return (bits & 0x7C00) != 0x7C00; }

// Replaces what is NaN in the results of a warp's rows by what f32 products give, one key after the
// other; `nan`: whether this lane has stored one. A function of its own that takes the kernel's
// arguments, so that nothing has to outlive the tile loop for what almost never runs.
__device__ __noinline__ void compute_nan_again(bool nan, FlashAttnPrefillParams p,
                                               const FlashAttnPrefillParams* in_buffer,
                                               const float* q, const uint16_t* k_new,
                                               const uint16_t* v_new, const uint16_t* k_cache,
                                               const uint16_t* v_cache, float* out) {
  if (in_buffer) p = *in_buffer;
  const uint32_t lane = threadIdx.x % 32, kv_head = blockIdx.y;
  const uint32_t group = p.num_heads / p.num_kv_heads, rows = p.num_new * group;
  const bool windowed = static_cast<AttnMask>(p.mask_type) == AttnMask::kSlidingWindow;
  const Keys keys{p.kv_seq_len, windowed ? p.sliding_window : 0};
  // What other lanes stored. In the tile loop of head_dim 256 ptxas takes five registers more for a
  // __syncwarp() here on sm_90, and spills for want of one on sm_100.
#if __CUDA_ARCH__ >= 1000
  __syncwarp();
#else
  __threadfence_block();
#endif
  const uint32_t lanes = __ballot_sync(~0u, nan);
#pragma unroll 1
  for (uint32_t r = 0; r < 16; ++r) {
    const uint32_t row = blockIdx.x * kRows + threadIdx.x / 32 * 16 + r, token = row / group;
    // Rows r and r + 8 are four lanes'.
    if (row >= rows || (lanes >> r % 8 * 4 & 15) == 0) continue;
    const uint64_t head = uint64_t{token} * p.num_heads + kv_head * group + row % group;
    const float* x = q + head * kDim + lane;
    float* y = out + head * kDim + lane;
    float o[kStrips] = {}, max = kNoMax, sum = 0;
#pragma unroll 1
    for (uint32_t key = keys.first(token); key <= keys.last(token); ++key) {
      const bool cached = key < p.kv_seq_len;
      const uint64_t at = cached ? uint64_t{kv_head} * p.kv_capacity +
                                       slot_of_logical(key, p.ring_start, p.kv_capacity)
                                 : uint64_t{key - p.kv_seq_len} * p.num_kv_heads + kv_head;
      const uint16_t* k = (cached ? k_cache : k_new) + at * kDim + lane;
      const uint16_t* v = (cached ? v_cache : v_new) + at * kDim + lane;
      float dot = 0;
#pragma unroll
      for (uint32_t i = 0; i < kStrips; ++i) dot = fmaf(x[i * 32], f32_of_f16(k[i * 32]), dot);
      const float score = warp_sum(dot) * (p.scale * 1.44269504f), largest = fmaxf(max, score);
      const float rescale = exp2_approx(max - largest), weight = exp2_approx(score - largest);
      max = largest;
      sum = fmaf(sum, rescale, weight);
#pragma unroll
      for (uint32_t i = 0; i < kStrips; ++i)
        o[i] = fmaf(weight, f32_of_f16(v[i * 32]), o[i] * rescale);
    }
#pragma unroll
    for (uint32_t i = 0; i < kStrips; ++i)
      if (isnan(y[i * 32])) y[i * 32] = o[i] / sum;
  }
}

}  // namespace
}  // namespace decant

using namespace decant;  // NOLINT: the file is a program of its own

// Grid: (rows / 64 rounded up, KV heads).
extern "C" __global__ void __launch_bounds__(kThreads, 1)
    flash_attn_prefill(const FlashAttnPrefillParams value, const FlashAttnPrefillParams* in_buffer,
                       const float* q, const uint16_t* k_new, const uint16_t* v_new,
                       const uint16_t* k_cache, const uint16_t* v_cache, float* out) {
  FlashAttnPrefillParams p = value;
  if (in_buffer) p = *in_buffer;
  extern __shared__ __align__(16) uint8_t memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const uint32_t group = p.num_heads / p.num_kv_heads, kv_head = blockIdx.y;
  const uint32_t rows = p.num_new * group, first_row = blockIdx.x * kRows;
  const auto clamped = [&](uint32_t row) { return min(first_row + row, rows - 1); };
  const auto token_of = [&](uint32_t row) { return clamped(row) / group; };
  const auto q_at = [&](uint32_t row) {
    return (uint64_t{token_of(row)} * p.num_heads + kv_head * group + clamped(row) % group) * kDim;
  };
  const bool windowed = static_cast<AttnMask>(p.mask_type) == AttnMask::kSlidingWindow;
  const Keys keys{p.kv_seq_len, windowed ? p.sliding_window : 0};
  const uint32_t first_token = token_of(0), last_token = token_of(kRows - 1);
  const uint32_t begin = keys.first(first_token), end = keys.last(last_token) + 1;
  wait_for_previous();
  let_next_start();

  const auto start = [&](uint32_t tile) {
    Stage& stage = shared.stages[tile % 2];
    for (uint32_t i = threadIdx.x; i < kKeys * kChunks; i += kThreads) {
      const uint32_t row = i / kChunks, chunk = i % kChunks, key = begin + tile * kKeys + row;
      uint64_t at = chunk * 8;
      const bool cached = key < p.kv_seq_len;
      if (cached) {
        uint32_t slot = key + p.ring_start;
        if (slot >= p.kv_capacity) slot -= p.kv_capacity;
        at += (uint64_t{kv_head} * p.kv_capacity + slot) * kDim;
      } else if (key < end) {
        at += (uint64_t{key - p.kv_seq_len} * p.num_kv_heads + kv_head) * kDim;
      }
      const uint32_t bytes = key < end ? 16 : 0;
      copy_async_16(stage.k + row * kQkPitch + chunk * 8, (cached ? k_cache : k_new) + at, bytes);
      copy_async_16(stage.v + row * kVPitch + chunk * 8, (cached ? v_cache : v_new) + at, bytes);
    }
  };
  start(0);
  copy_async_commit();

  // The warp's rows of q, two dims a lane at a time.
  for (uint32_t r = warp * 16; r < warp * 16 + 16; ++r) {
    float2 x[(kDim + 63) / 64];
    float largest = 0;
#pragma unroll
    for (uint32_t i = 0; i < (kDim + 63) / 64; ++i) {
      const uint32_t dim = i * 64 + lane * 2;
      x[i] = dim < kDim ? *reinterpret_cast<const float2*>(q + q_at(r) + dim) : float2{0, 0};
      largest = fmaxf(largest, fmaxf(fabsf(x[i].x), fabsf(x[i].y)));
    }
#pragma unroll
    for (uint32_t mask = 1; mask < 32; mask *= 2)
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, mask));
    const uint32_t exponent = min(max(__float_as_uint(largest) >> 23, 16u), 254u);
    const float up = __uint_as_float((267 - exponent) << 23);  // largest * up is in [2^13, 2^14)
    if (lane == 0) shared.back[r] = __uint_as_float((exponent - 13) << 23);
#pragma unroll
    for (uint32_t i = 0; i < (kDim + 63) / 64; ++i) {
      const uint32_t dim = i * 64 + lane * 2;
      if (dim >= kDim) continue;
      const uint32_t high = pack_f16(x[i].x * up, x[i].y * up);
      *reinterpret_cast<uint32_t*>(shared.q[0] + r * kQkPitch + dim) = high;
      *reinterpret_cast<uint32_t*>(shared.q[1] + r * kQkPitch + dim) =
          pack_f16_rest(x[i].x * up, x[i].y * up, high);
    }
  }
  __syncwarp();

  const uint32_t row[2] = {warp * 16 + g, warp * 16 + g + 8};
  const uint32_t token[2] = {token_of(row[0]), token_of(row[1])};
  const float to_log2 = p.scale * 1.44269504f;
  const float back[2] = {shared.back[row[0]] * to_log2, shared.back[row[1]] * to_log2};
  float o[kOutTiles][4] = {};
  float max[2] = {kNoMax, kNoMax}, sum[2] = {0, 0};

  const uint32_t tiles = (end - begin + kKeys - 1) / kKeys;
  for (uint32_t tile = 0; tile < tiles; ++tile) {
    if (tile + 1 < tiles) start(tile + 1);
    copy_async_commit();
    copy_async_wait<1>();
    __syncthreads();
    Stage& stage = shared.stages[tile % 2];
    const uint32_t first_key = begin + tile * kKeys;

    float s[kKeys / 8][4] = {};
#pragma unroll 2
    for (uint32_t strip = 0; strip < kStrips; ++strip) {
      const uint4 high0 = quad_of_dims(shared.q[0], row[0], strip),
                  high1 = quad_of_dims(shared.q[0], row[1], strip),
                  low0 = quad_of_dims(shared.q[1], row[0], strip),
                  low1 = quad_of_dims(shared.q[1], row[1], strip);
#pragma unroll
      for (uint32_t n = 0; n < kKeys / 8; ++n) {
        const uint4 k = quad_of_dims(stage.k, n * 8 + g, strip);
        mma(s[n], high0.x, high1.x, high0.y, high1.y, k.x, k.y);
        mma(s[n], low0.x, low1.x, low0.y, low1.y, k.x, k.y);
        mma(s[n], high0.z, high1.z, high0.w, high1.w, k.z, k.w);
        mma(s[n], low0.z, low1.z, low0.w, low1.w, k.z, k.w);
      }
    }

    // Whether some row does not attend some key of the tile; the same for the block.
    const bool masked =
        first_key < keys.first(last_token) || first_key + kKeys - 1 > keys.last(first_token);
    float largest[2] = {max[0], max[1]};
#pragma unroll
    for (uint32_t n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        s[n][i] *= back[i / 2];
        if (masked && !keys.attends(token[i / 2], first_key + n * 8 + 2 * t + i % 2))
          s[n][i] = minus_infinity();
        largest[i / 2] = fmaxf(largest[i / 2], s[n][i]);
      }
    float rescale[2];
#pragma unroll
    for (uint32_t i = 0; i < 2; ++i) {
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], 1));
      largest[i] = fmaxf(largest[i], __shfl_xor_sync(~0u, largest[i], 2));
      rescale[i] = exp2_approx(max[i] - largest[i]);
      max[i] = largest[i];
      sum[i] *= rescale[i];
    }
#pragma unroll
    for (uint32_t n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        s[n][i] = exp2_approx(s[n][i] - max[i / 2]);
        sum[i / 2] += s[n][i];
      }
#pragma unroll
    for (uint32_t n = 0; n < kOutTiles; ++n)
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) o[n][i] *= rescale[i / 2];

    if (masked) {
      // A weight of 0 does not silence a NaN or an infinity: they are added to the rows that
      // attend them, and then taken out.
      bool found = false;
      for (uint32_t i = threadIdx.x; i < kKeys * kDim; i += kThreads)
        found |= !is_finite_f16(stage.v[i / kDim * kVPitch + i % kDim]);
      if (__syncthreads_or(found)) {
#pragma unroll 1
        for (uint32_t key = 0; key < kKeys; ++key) {
          const bool mine[2] = {keys.attends(token[0], first_key + key),
                                keys.attends(token[1], first_key + key)};
#pragma unroll
          for (uint32_t n = 0; n < kOutTiles; ++n)
#pragma unroll
            for (uint32_t i = 0; i < 4; ++i) {
              const uint16_t bits = stage.v[key * kVPitch + n * 8 + 2 * t + i % 2];
              if (!is_finite_f16(bits) && mine[i / 2])
                o[n][i] += bits & 0x3FF ? __uint_as_float(0x7FC00000u)
                                        : __uint_as_float(0x7F800000u | (bits & 0x8000u) << 16);
            }
        }
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < kKeys * kDim; i += kThreads) {
          uint16_t& bits = stage.v[i / kDim * kVPitch + i % kDim];
          if (!is_finite_f16(bits)) bits = 0;
        }
        __syncthreads();
      }
    }

    uint32_t high[kKeys / 16][4], low[kKeys / 16][4];
#pragma unroll
    for (uint32_t n = 0; n < kKeys / 8; ++n)
#pragma unroll
      for (uint32_t i = 0; i < 2; ++i) {
        uint32_t& to = high[n / 2][n % 2 * 2 + i];
        to = pack_f16(s[n][2 * i], s[n][2 * i + 1]);
        low[n / 2][n % 2 * 2 + i] = pack_f16_rest(s[n][2 * i], s[n][2 * i + 1], to);
      }
#pragma unroll
    for (uint32_t n = 0; n < kOutTiles; n += 2)
#pragma unroll
      for (uint32_t k = 0; k < kKeys / 16; ++k) {
        uint32_t b[4];
        load_values(stage.v, k * 16, n * 8, b);
        mma(o[n], high[k][0], high[k][1], high[k][2], high[k][3], b[0], b[1]);
        mma(o[n], low[k][0], low[k][1], low[k][2], low[k][3], b[0], b[1]);
        mma(o[n + 1], high[k][0], high[k][1], high[k][2], high[k][3], b[2], b[3]);
        mma(o[n + 1], low[k][0], low[k][1], low[k][2], low[k][3], b[2], b[3]);
      }
    __syncthreads();
  }

  bool nan = false;
#pragma unroll
  for (uint32_t i = 0; i < 2; ++i) {
    sum[i] += __shfl_xor_sync(~0u, sum[i], 1);
    sum[i] += __shfl_xor_sync(~0u, sum[i], 2);
    if (first_row + row[i] >= rows) continue;
    const float factor = 1.0f / sum[i];
#pragma unroll
    for (uint32_t n = 0; n < kOutTiles; ++n) {
      const float2 x{o[n][2 * i] * factor, o[n][2 * i + 1] * factor};
      *reinterpret_cast<float2*>(out + q_at(row[i]) + n * 8 + 2 * t) = x;
      nan |= x.x != x.x || x.y != x.y;  // one instruction; two isnan are three
    }
  }
  if (__any_sync(~0u, nan))
    compute_nan_again(nan, value, in_buffer, q, k_new, v_new, k_cache, v_cache, out);
}
