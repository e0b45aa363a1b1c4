#include "decant/kernels/rows.cuh"
#include "decant/ops/kv_append/params.h"

namespace decant {

// Row `row` of `from`, which is f16 or f32, to `to`, by one warp.
__device__ void copy_row(const void* from, bool is_f16, uint64_t row, F16* to, uint32_t head_dim) {
  for (uint32_t i = threadIdx.x % 32 * 4; i < head_dim; i += 128) {
    if (!is_f16) {
      const float* source = static_cast<const float*>(from) + row * head_dim + i;
      store_row(load_row(source, head_dim - i), to + i, head_dim - i);
      continue;
    }
    // Bits, whatever they mean.
    const F16* source = static_cast<const F16*>(from) + row * head_dim + i;
    if (head_dim - i >= 4 && is_four_aligned(source) && is_four_aligned(to + i)) {
      *reinterpret_cast<Four<F16>*>(to + i) = *reinterpret_cast<const Four<F16>*>(source);
    } else {
      for (uint32_t j = 0; j < 4 && i + j < head_dim; ++j) to[i + j] = source[j];
    }
  }
}

// Two warps a row: one copies k, one v.
extern "C" __global__ void kv_append(const KvAppendParams value, const KvAppendParams* in_buffer,
                                     const uint32_t at, const uint32_t* position_buffer,
                                     const void* k, const void* v, F16* k_cache, F16* v_cache) {
  const KvAppendParams params = in_buffer ? *in_buffer : value;
  const uint64_t position = position_buffer ? *position_buffer : at;
  const uint64_t group_rows = kv_append_group_rows(params.head_dim);
  const uint64_t begin = blockIdx.x * group_rows;
  const uint64_t end = std::min<uint64_t>(begin + group_rows, params.rows);
  const uint32_t warp = threadIdx.x / 32;
  for (uint64_t i = begin + warp / 2; i < end; i += blockDim.x / 64) {
    const uint64_t row = uint64_t{params.first_token} * params.num_kv_heads + i;
    uint64_t slot = position + row / params.num_kv_heads;
    if (params.ring)
      slot %= params.kv_capacity;
    else if (slot >= params.kv_capacity)
      return;  // and so are the tokens after it
    const uint64_t to = (row % params.num_kv_heads * params.kv_capacity + slot) * params.head_dim;
    if (warp % 2 == 0)
      copy_row(k, params.k_is_f16, row, k_cache + to, params.head_dim);
    else
      copy_row(v, params.v_is_f16, row, v_cache + to, params.head_dim);
  }
}

}  // namespace decant
