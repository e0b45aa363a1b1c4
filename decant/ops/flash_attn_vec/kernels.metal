// Translation of cpu.cc: what a workgroup covers is the only difference between the forms. One
// simdgroup is a workgroup. kHeads query heads of one KV head share every K and V row that is
// loaded; with one head these are the kernels of the base contract.
#include <metal_stdlib>

#include "decant/kernels/metal/attend.h"

using namespace metal;
using namespace decant;

// Where a workgroup finds its part. Grid: (1, num_heads / kHeads, workgroups).
template <uint D, uint kHeads>
static void start(thread HeadGroup<D, kHeads>& state, device const FlashAttnVecParams& params,
                  constant FlashAttnVecSizes& sizes, device const float* q, device const half* k,
                  device const half* v, threadgroup half* shared, uint first_head, uint num_heads,
                  uint lane) {
  const uint kv_head = first_head / (num_heads / sizes.num_kv_heads);
  state.k = k + ulong(kv_head) * sizes.kv_capacity * D;
  state.v = v + ulong(kv_head) * sizes.kv_capacity * D;
  state.lane = lane;
  state.q = reinterpret_cast<threadgroup float*>(shared);
  state.p = state.q + kHeads * D;
  q += ulong(first_head) * D;
  for (uint i = lane; i < kHeads * D; i += 32) state.q[i] = q[i] * params.scale;
  state.start();
}

template <uint D, uint kHeads>
kernel void one(device const FlashAttnVecParams& params [[buffer(0)]],
                device const float* q [[buffer(1)]], device const half* k [[buffer(2)]],
                device const half* v [[buffer(3)]], device float* out [[buffer(4)]],
                constant FlashAttnVecSizes& sizes [[buffer(5)]],
                threadgroup half* shared [[threadgroup(0)]],
                uint3 group [[threadgroup_position_in_grid]],
                uint3 groups [[threadgroups_per_grid]], uint lane [[thread_index_in_simdgroup]]) {
  const uint first_head = group.y * kHeads;
  HeadGroup<D, kHeads> state;
  start(state, params, sizes, q, k, v, shared, first_head, groups.y * kHeads, lane);
  const SlotRuns runs = attended_slots(params, sizes.kv_capacity);
  for (uint r = 0; r < 2; ++r)
    for (uint slot = runs.begin[r]; slot < runs.end[r]; slot += kAttendKeys)
      state.attend(slot, min(uint(kAttendKeys), runs.end[r] - slot));
  state.store(out, first_head);
}

// Workgroup w takes the blocks w, w + 32, ... of 32 slots and leaves a partial result in tmp.
template <uint D, uint kHeads>
kernel void nwg32(device const FlashAttnVecParams& params [[buffer(0)]],
                  device const float* q [[buffer(1)]], device const half* k [[buffer(2)]],
                  device const half* v [[buffer(3)]], device float* tmp [[buffer(4)]],
                  constant FlashAttnVecSizes& sizes [[buffer(5)]],
                  threadgroup half* shared [[threadgroup(0)]],
                  uint3 group [[threadgroup_position_in_grid]],
                  uint3 groups [[threadgroups_per_grid]], uint lane [[thread_index_in_simdgroup]]) {
  const uint first_head = group.y * kHeads, num_heads = groups.y * kHeads, w = group.z;
  HeadGroup<D, kHeads> state;
  start(state, params, sizes, q, k, v, shared, first_head, num_heads, lane);
  state.attend_blocks(attended_slots(params, sizes.kv_capacity), w, kFlashAttnVecWorkgroups);
  state.store_partial(tmp, first_head, num_heads, w);
}

// out[row] = sum_w O[w] exp(M[w] - max M) / sum_w S[w] exp(M[w] - max M). A lane a workgroup; the
// 32 simdgroups share the dimensions, four at a time.
template <uint D>
kernel void reduce(constant FlashAttnVecReduceParams& params [[buffer(0)]],
                   device const float* tmp [[buffer(1)]], device float* out [[buffer(2)]],
                   uint row [[threadgroup_position_in_grid]],
                   uint lane [[thread_index_in_simdgroup]],
                   uint simdgroup [[simdgroup_index_in_threadgroup]],
                   uint simdgroups [[simdgroups_per_threadgroup]]) {
  device const float* sm = tmp + flash_attn_vec_tmp_sm(ulong(params.nrows), row, lane, D);
  const float max = simd_max(sm[1]);
  const float weight = exp(sm[1] - max);
  const float sum = simd_sum(sm[0] * weight);
  const float factor = sum == 0 ? 0.0f : 1.0f / sum;
  for (uint i = simdgroup * 4; i < D; i += simdgroups * 4) {
    device const packed_float4* o =
        reinterpret_cast<device const packed_float4*>(tmp + flash_attn_vec_tmp_o(row, i, lane, D));
    const float4 total = simd_sum(float4(*o) * weight) * factor;
    if (lane < 4) out[ulong(row) * D + i + lane] = total[lane];
  }
}

typedef decltype(one<256, 1>) vec_kernel;
typedef decltype(reduce<256>) reduce_kernel;
#define DECANT_VEC(form, heads, suffix, D)                  \
  template [[host_name("flash_attn_vec_f16" suffix "_dk" #D \
                       "_dv" #D)]] kernel vec_kernel form<D, heads>;
#define DECANT_HEAD_DIM(D)             \
  DECANT_VEC(one, 1, "", D)            \
  DECANT_VEC(one, 2, "_h2", D)         \
  DECANT_VEC(one, 4, "_h4", D)         \
  DECANT_VEC(nwg32, 1, "_nwg32", D)    \
  DECANT_VEC(nwg32, 2, "_nwg32_h2", D) \
  DECANT_VEC(nwg32, 4, "_nwg32_h4", D) \
  template [[host_name("flash_attn_vec_reduce_dv" #D "_nwg32")]] kernel reduce_kernel reduce<D>;
DECANT_HEAD_DIM(64)
DECANT_HEAD_DIM(128)
DECANT_HEAD_DIM(256)
#undef DECANT_HEAD_DIM
#undef DECANT_VEC
