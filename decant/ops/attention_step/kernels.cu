// See README.md, "CUDA kernel". Compiled for each variant with
//   DECANT_HEAD_DIM, DECANT_HEADS, DECANT_KEY_GROUPS, DECANT_TILES   as flash_attn_vec has them
//   DECANT_FORM     kCluster or kScratch: how the blocks that share the keys merge
//   DECANT_CLUSTER  blocks of a cluster, with kCluster
#include "decant/kernels/attention.h"
#include "decant/kernels/attention_merge.cuh"
#include "decant/kernels/attention_mma.cuh"
#include "decant/kernels/ptx.cuh"
#include "decant/ops/attention_step/params.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {
namespace {

constexpr uint32_t kDim = DECANT_HEAD_DIM, kHalf = kDim / 2, kHeads = DECANT_HEADS;
constexpr uint32_t kOctetsOfHead = kDim / 8;

using Block = AttentionBlock<kDim, kHeads, DECANT_KEY_GROUPS, DECANT_TILES>;

// The older keys that are attended, in logical order: a circular range of slots.
struct OlderKeys {
  uint32_t start, count, capacity;

  __device__ bool at(uint32_t step, uint32_t row, uint32_t& slot) const {
    const uint32_t i = step * Block::kStepKeys + row;
    slot = start + i;
    if (slot >= capacity) slot -= capacity;
    return i < count;
  }
  // Whether all rows of a step are attended, in consecutive slots from `slot` on.
  __device__ bool whole(uint32_t step, uint32_t& slot) const {
    at(step, 0, slot);
    return (step + 1) * Block::kStepKeys <= count && slot + Block::kStepKeys <= capacity;
  }
  __device__ uint32_t steps() const { return (count + Block::kStepKeys - 1) / Block::kStepKeys; }
  __device__ uint32_t next(uint32_t step, uint32_t, uint32_t) const { return step; }
};

// A head's norm and rotation by a warp: lane i has dims 4 i to 4 i + 3 of both halves.
struct HeadLane {
  float4 low{0, 0, 0, 0}, high{0, 0, 0, 0};
  __device__ static bool active() { return threadIdx.x % 32 < kHalf / 4; }
  __device__ void load(const float* from) {
    if (!active()) return;
    const float4* quads = reinterpret_cast<const float4*>(from) + threadIdx.x % 32;
    low = load_fresh(quads);
    high = load_fresh(quads + kHalf / 4);
  }
  __device__ void store(float* to) const {
    if (!active()) return;
    float4* quads = reinterpret_cast<float4*>(to) + threadIdx.x % 32;
    quads[0] = low;
    quads[kHalf / 4] = high;
  }
};

__device__ void norm_and_rotate(HeadLane& x, const HeadLane& weight, const HeadLane& rope,
                                float eps) {
  const auto square = [](float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; };
  const float sum = warp_sum(square(x.low) + square(x.high));
  const float factor = rsqrtf(sum * (1.0f / kDim) + eps);
  const auto rotate = [&](float& low, float& high, float w0, float w1, float cos, float sin) {
    const float a = low * factor * w0, b = high * factor * w1;
    low = a * cos - b * sin;
    high = b * cos + a * sin;
  };
  rotate(x.low.x, x.high.x, weight.low.x, weight.high.x, rope.low.x, rope.high.x);
  rotate(x.low.y, x.high.y, weight.low.y, weight.high.y, rope.low.y, rope.high.y);
  rotate(x.low.z, x.high.z, weight.low.z, weight.high.z, rope.low.z, rope.high.z);
  rotate(x.low.w, x.high.w, weight.low.w, weight.high.w, rope.low.w, rope.high.w);
}

// Rounds to f16, as the cache stores it, and stores it there.
__device__ float4 round_and_store(float4 v, uint16_t* to, bool valid) {
  const uint32_t a = pack_f16(v.x, v.y), b = pack_f16(v.z, v.w);
  if (valid) *reinterpret_cast<uint2*>(to) = {a, b};
  const float2 low = unpack_f16(a), high = unpack_f16(b);
  return {low.x, low.y, high.x, high.y};
}

// The new token's key and value as the cache has them, and each head's score of it in base 2.
struct NewKey {
  float k[kDim], v[kDim], scores[kHeads];
};

__device__ void add_new_key(const NewKey& key, uint32_t head, uint32_t dim, float4& o,
                            SoftmaxSum& all) {
  const float score = key.scores[head], max = fmaxf(all.max, score);
  const float older = exp2_approx(all.max - max), newest = exp2_approx(score - max);
  const float4 v = *reinterpret_cast<const float4*>(key.v + dim);
  o = scaled(o, older);
  accumulate(o, v, newest);
  all = {max, all.sum * older + newest};
}

}  // namespace
}  // namespace decant

using namespace decant;  // NOLINT: the file is a program of its own

#if DECANT_FORM == 2
#define DECANT_CLUSTER_DIMS __cluster_dims__(DECANT_CLUSTER, 1, 1)
#else
#define DECANT_CLUSTER_DIMS
#endif

// Grid: (parts of the keys, KV heads x chunks of their query heads). Slot 0 comes by value, or, if
// the pointer is not null, from there. `scratch` is zero before and after, for kScratch.
extern "C" __global__ void __launch_bounds__(Block::kThreads, 1) DECANT_CLUSTER_DIMS
    attention_step(const FlashAttnVecParams value, const FlashAttnVecParams* in_buffer,
                   const float* q, const float* k, const float* v, const float* q_norm,
                   const float* k_norm, const float* rope, uint16_t* k_cache, uint16_t* v_cache,
                   float* out, float* scratch, const AttentionStepParams shape) {
  // The params, and all slots but the new one, are what earlier tokens left: they are read before
  // the wait.
  FlashAttnVecParams params = value;
  if (in_buffer) params = *in_buffer;
  const uint32_t capacity = shape.kv_capacity;
  const uint32_t live = min(params.kv_seq_len, capacity);
  const uint32_t first_key =
      window_start(static_cast<AttnMask>(params.mask_type), params.sliding_window, live);
  const uint32_t ring_start = min(params.ring_start, capacity - 1);
  const auto slot_of = [&](uint32_t logical) {
    const uint32_t slot = ring_start + logical;
    return slot >= capacity ? slot - capacity : slot;
  };
  const OlderKeys keys{slot_of(first_key), live ? live - 1 - first_key : 0, capacity};
  const uint32_t new_slot = slot_of(live ? live - 1 : 0);

  // The query heads of this row of the grid.
  const uint32_t group_heads = shape.num_heads / shape.num_kv_heads;
  const uint32_t chunks = (group_heads + kHeads - 1) / kHeads;
  const uint32_t kv_head = blockIdx.y / chunks, chunk = blockIdx.y % chunks;
  const uint32_t first = chunk * kHeads;
  const uint32_t heads = min(kHeads, group_heads - first);
  const uint64_t row = kv_head * group_heads + first;  // of q and out
  const uint64_t cache = uint64_t{kv_head} * capacity * kDim;
  const uint32_t octets = heads * kOctetsOfHead;

  // Parts that have steps, which the live length decides.
  const uint32_t steps = keys.steps(), part = blockIdx.x;
  const uint32_t parts = max(min(gridDim.x, steps), 1u);
  if (part >= parts) {
    wait_for_previous();
    let_next_start();
    return;
  }

  __shared__ Block::Shared shared;
  __shared__ __align__(16) float roped[kHeads * kDim];
  __shared__ __align__(16) NewKey new_key;
  Block block(shared);
#if DECANT_FORM == 2 && __CUDA_ARCH__ >= 900
  using Exchange = ClusterExchange<DECANT_CLUSTER, kHeads, kOctetsOfHead>;
  __shared__ Exchange::Shared received;
  Exchange with(received);
  with.expect(part, octets, parts);
#endif
  block.load_first(k_cache + cache, v_cache + cache, keys, part, parts, steps);
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  constexpr uint32_t kWarps = Block::kThreads / 32;
  HeadLane q_weight, k_weight;
  q_weight.load(q_norm);
  if (part == 0) k_weight.load(k_norm);
  HeadLane angles;
  angles.load(rope);
  wait_for_previous();
  let_next_start();

  for (uint32_t head = warp; head < kHeads; head += kWarps) {
    HeadLane x;
    if (head < heads) x.load(q + (row + head) * kDim);
    norm_and_rotate(x, q_weight, angles, shape.eps);
    x.store(roped + head * kDim);
  }
  const float scale = params.scale * 1.44269504f;
  if (part == 0) {
    const uint64_t slot = cache + uint64_t{new_slot} * kDim + 4 * lane;
    const bool stored = live && chunk == 0 && HeadLane::active();
    if (warp == kWarps - 1) {
      HeadLane x;
      x.load(k + kv_head * kDim);
      norm_and_rotate(x, k_weight, angles, shape.eps);
      x.low = round_and_store(x.low, k_cache + slot, stored);
      x.high = round_and_store(x.high, k_cache + slot + kHalf, stored);
      x.store(new_key.k);
    } else if (warp == kWarps - 2) {
      HeadLane x;
      x.load(v + kv_head * kDim);
      x.low = round_and_store(x.low, v_cache + slot, stored);
      x.high = round_and_store(x.high, v_cache + slot + kHalf, stored);
      x.store(new_key.v);
    }
  }
  __syncthreads();
  block.load_q(roped, heads, [](const float4* from) { return *from; });
  block.set_scale(scale);
  if (part == 0) {
    for (uint32_t head = warp; head < heads; head += kWarps) {
      float sum = 0;
#pragma unroll
      for (uint32_t i = 0; i < kDim / 32; ++i)
        sum += roped[head * kDim + i * 32 + lane] * new_key.k[i * 32 + lane];
      sum = warp_sum(sum) * scale;
      if (lane == 0) new_key.scores[head] = sum;
    }
  }
  block.run(keys);

  const auto send = [&](auto& with) {
    block.finish([&](uint32_t head, uint32_t dim, float4 o, SoftmaxSum all) {
      if (head >= heads) return;
      if (part == 0) add_new_key(new_key, head, dim, o, all);
      with.send(head * kOctetsOfHead + dim / 8, part, dim / 4 % 2, o, all);
    });
  };
  float* out_octets = out + row * kDim;
  if (parts == 1) {
    block.finish([&](uint32_t head, uint32_t dim, float4 o, SoftmaxSum all) {
      if (head >= heads) return;
      if (live) add_new_key(new_key, head, dim, o, all);
      *reinterpret_cast<float4*>(out_octets + head * kDim + dim) =
          scaled(o, reciprocal_or_zero(all.sum));
    });
    return;
  }
#if DECANT_FORM == 2 && __CUDA_ARCH__ >= 900
  with.wait_for_peers();
  send(with);
  with.receive(out_octets);
#else
  constexpr uint32_t all_octets = kHeads * kOctetsOfHead;
  using Exchange = ScratchExchange<kOctetsOfHead>;
  Exchange with(scratch + uint64_t{blockIdx.y} * all_octets * gridDim.x * 10, all_octets, gridDim.x,
                octets, parts);
  __shared__ Exchange::Shared reduced;
  send(with);
  with.receive(part, reduced, out_octets);
#endif
}
