// See README.md, "CUDA kernels". Compiled for each variant with
//   DECANT_HEAD_DIM       64, 128, 256
//   DECANT_HEADS          4, 8, 16: query heads of a block, at most
//   DECANT_KEY_GROUPS     sets of warps in a block that take tiles of keys in turn
//   DECANT_TILES          tiles of 16 keys that such a set has in flight
//   DECANT_FORM           kOne, kNwg32, kCluster, kScratch below
//   DECANT_CLUSTER        blocks of a cluster, with kCluster
//   DECANT_BLOCKS_PER_SM  resident blocks, also of two launches, that registers are left for
#include "decant/kernels/attention.h"
#include "decant/kernels/attention_merge.cuh"
#include "decant/kernels/attention_mma.cuh"
#include "decant/kernels/ptx.cuh"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {
namespace {

enum class Form { kOne = 0, kNwg32 = 1, kCluster = 2, kScratch = 3 };
constexpr Form kForm = static_cast<Form>(DECANT_FORM);
constexpr uint32_t kDim = DECANT_HEAD_DIM;
constexpr uint32_t kOctetsOfHead = kDim / 8;

using Block = AttentionBlock<kDim, DECANT_HEADS, DECANT_KEY_GROUPS, DECANT_TILES>;

// The attended keys in logical order lie in a circular range of slots; a step is kStepKeys of them.
struct KeysInOrder {
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

// The attended ones among the blocks w, w + 32, ... of 32 slots.
struct KeysOfWorkgroup {
  KeysInOrder keys;
  uint32_t workgroup;

  static constexpr uint32_t kSteps =  // of a block
      kForm == Form::kNwg32 ? kFlashAttnVecBlock / Block::kStepKeys : 1;
  static_assert(kForm != Form::kNwg32 || kSteps * Block::kStepKeys == kFlashAttnVecBlock);

  __device__ uint32_t age(uint32_t slot) const {
    return slot >= keys.start ? slot - keys.start : slot + keys.capacity - keys.start;
  }
  __device__ bool attended(uint32_t slot) const {
    return slot < keys.capacity && age(slot) < keys.count;
  }
  __device__ uint32_t first_slot(uint32_t step) const {
    return (step / kSteps * kFlashAttnVecWorkgroups + workgroup) * kFlashAttnVecBlock +
           step % kSteps * Block::kStepKeys;
  }
  __device__ bool at(uint32_t step, uint32_t row, uint32_t& slot) const {
    slot = first_slot(step) + row;
    return attended(slot);
  }
  __device__ bool whole(uint32_t step, uint32_t& slot) const {
    slot = first_slot(step);
    return slot + Block::kStepKeys <= keys.capacity && age(slot) + Block::kStepKeys <= keys.count;
  }
  __device__ uint32_t steps() const {
    constexpr uint32_t kStride = kFlashAttnVecWorkgroups * kFlashAttnVecBlock;
    return (keys.capacity + kStride - 1) / kStride * kSteps;
  }
  __device__ bool any(uint32_t step) const {
    const uint32_t slot = first_slot(step);
    return attended(slot) || (keys.start >= slot && keys.start < slot + Block::kStepKeys);
  }
  // Turns without an attended slot are left out.
  __device__ uint32_t next(uint32_t step, uint32_t stride, uint32_t last) const {
    for (; step < last; step += DECANT_KEY_GROUPS * stride)
      for (uint32_t group = 0; group < DECANT_KEY_GROUPS; ++group)
        if (any(step + group * stride)) return step;
    return step;
  }
};

__device__ KeysInOrder attended(const FlashAttnVecParams& p, uint32_t capacity) {
  const uint32_t live = min(p.kv_seq_len, capacity);
  const uint32_t first = window_start(static_cast<AttnMask>(p.mask_type), p.sliding_window, live);
  uint32_t start = min(p.ring_start, capacity - 1) + first;
  if (start >= capacity) start -= capacity;
  return {start, live - first, capacity};
}

}  // namespace
}  // namespace decant

using namespace decant;  // NOLINT: the file is a program of its own

// Grid: (parts of the keys, KV heads, chunks of their query heads). Slot 0 comes by value, or, if
// the pointer is not null, from there. `out` is tmp with kNwg32. `scratch`, for kScratch with more
// than one part alone, is zero before and after.
extern "C" __global__ void __launch_bounds__(Block::kThreads, DECANT_BLOCKS_PER_SM)
    flash_attn_vec(const FlashAttnVecParams value, const FlashAttnVecParams* in_buffer,
                   const float* q, const uint16_t* k, const uint16_t* v, float* out,
                   const FlashAttnVecCudaShape shape, float* scratch) {
  // The query heads of this row of the grid.
  const uint32_t kv_head = blockIdx.y;
  const uint32_t first = blockIdx.z * shape.chunk_heads;
  const uint32_t heads = min(shape.chunk_heads, shape.group_heads - first);
  const uint64_t row = kv_head * shape.group_heads + first;  // of q and out
  const uint64_t cache = uint64_t{kv_head} * shape.kv_capacity * kDim;
  const uint32_t octets = heads * kOctetsOfHead;

  __shared__ Block::Shared shared;
  Block block(shared);
  wait_for_previous();
  let_next_start();
  FlashAttnVecParams params = value;
  if (in_buffer) params = *in_buffer;
  block.load_q(q + row * kDim, heads, load_f32);
  const KeysInOrder keys = attended(params, shape.kv_capacity);
  // What `meanwhile` does is hidden behind the first loads.
  const auto attend = [&](const auto& slots, uint32_t begin, uint32_t stride, uint32_t end,
                          const auto& meanwhile) {
    block.load_first(k + cache, v + cache, slots, begin, stride, end);
    meanwhile();
    block.set_scale(params.scale * 1.44269504f);
    block.run(slots);
  };
  const auto store = [&](uint32_t head, uint32_t dim, float4 o) {
    *reinterpret_cast<float4*>(out + (row + head) * kDim + dim) = o;
  };
  const auto store_whole = [&](uint32_t head, uint32_t dim, float4 o, SoftmaxSum all) {
    if (head < heads) store(head, dim, scaled(o, reciprocal_or_zero(all.sum)));
  };

  if constexpr (kForm == Form::kOne) {
    attend(keys, 0, 1, keys.steps(), [] {});
    block.finish(store_whole);
  } else if constexpr (kForm == Form::kNwg32) {
    const KeysOfWorkgroup mine{keys, blockIdx.x};
    attend(mine, 0, 1, keys.count ? mine.steps() : 0, [] {});
    block.finish([&](uint32_t head, uint32_t dim, float4 o, SoftmaxSum all) {
      if (head >= heads) return;
      *reinterpret_cast<float4*>(out + flash_attn_vec_tmp_o(row + head, dim, blockIdx.x, kDim)) = o;
      if (dim == 0) {
        float* sm = out + flash_attn_vec_tmp_sm(shape.num_heads, row + head, blockIdx.x, kDim);
        sm[0] = all.sum;
        sm[1] = all.max == kNoMax ? kFlashAttnVecNoMax : all.max * 0.693147181f;
      }
    });
  } else {
    // Only as many parts as there are steps take part; the live length decides. They take steps in
    // turn, so that all read the same stretch of memory at a time.
    const uint32_t steps = keys.steps(), part = blockIdx.x;
    const uint32_t parts = max(min(gridDim.x, steps), 1u);
    if (part >= parts) return;

    float* out_octets = out + row * kDim;
    const auto send = [&](auto& with) {
      block.finish([&](uint32_t head, uint32_t dim, float4 o, SoftmaxSum all) {
        if (head < heads) with.send(head * kOctetsOfHead + dim / 8, part, dim / 4 % 2, o, all);
      });
    };
    if constexpr (kForm == Form::kScratch) {
      attend(keys, part, parts, steps, [] {});
      if (parts == 1) return block.finish(store_whole);
      const uint32_t all_octets = shape.chunk_heads * kOctetsOfHead;
      using Exchange = ScratchExchange<kOctetsOfHead>;
      Exchange with(
          scratch + uint64_t{blockIdx.z * gridDim.y + blockIdx.y} * all_octets * gridDim.x * 10,
          all_octets, gridDim.x, octets, parts);
      __shared__ Exchange::Shared reduced;
      send(with);
      with.receive(part, reduced, out_octets);
    }
#if DECANT_FORM == 2 && __CUDA_ARCH__ >= 900
    using Exchange = ClusterExchange<DECANT_CLUSTER, DECANT_HEADS, kOctetsOfHead>;
    __shared__ Exchange::Shared received;
    Exchange with(received);
    attend(keys, part, parts, steps, [&] { with.expect(part, octets, parts); });
    if (parts == 1) return block.finish(store_whole);
    with.wait_for_peers();
    send(with);
    with.receive(out_octets);
#endif
  }
}

// out[row] = sum_w O[w] exp(M[w] - M) / sum_w S[w] exp(M[w] - M), M = max M[w]. A block a row;
// lanes are workgroups, so that a warp reads 512 consecutive bytes, warps every eighth of 4 dims.
extern "C" __global__ void __launch_bounds__(256)
    flash_attn_vec_reduce(const FlashAttnVecReduceParams value,
                          const FlashAttnVecReduceParams* in_buffer, const float* tmp, float* out) {
  const uint32_t rows = static_cast<uint32_t>(in_buffer ? in_buffer->nrows : value.nrows);
  const uint64_t row = blockIdx.x;
  const uint32_t lane = threadIdx.x % 32;
  const float2 sm =
      *reinterpret_cast<const float2*>(tmp + flash_attn_vec_tmp_sm(rows, row, lane, kDim));
  float largest = sm.y;
#pragma unroll
  for (uint32_t mask = 1; mask < 32; mask *= 2)
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, mask));
  const float weight = exp2_approx((sm.y - largest) * 1.44269504f);
  const auto sum = [](float x) {
#pragma unroll
    for (uint32_t mask = 1; mask < 32; mask *= 2) x += __shfl_xor_sync(~0u, x, mask);
    return x;
  };
  const float factor = reciprocal_or_zero(sum(sm.x * weight));
#pragma unroll
  for (uint32_t dim = threadIdx.x / 32 * 4; dim < kDim; dim += 32) {
    const float4 o =
        *reinterpret_cast<const float4*>(tmp + flash_attn_vec_tmp_o(row, dim, lane, kDim));
    const float4 all{sum(o.x * weight), sum(o.y * weight), sum(o.z * weight), sum(o.w * weight)};
    if (lane == 0) *reinterpret_cast<float4*>(out + row * kDim + dim) = scaled(all, factor);
  }
}
