// Translation of cpu.cc. One simdgroup a head.
#include <metal_stdlib>

#include "decant/kernels/metal/norm_rope.h"
#include "decant/ops/qk_norm_rope/params.h"

using namespace metal;
using namespace decant;

template <class Out>
kernel void qk_norm_rope(constant QkNormRopeParams& params [[buffer(0)]],
                         device const float* x [[buffer(1)]],
                         device const float* weight [[buffer(2)]],
                         device const float* rope [[buffer(3)]], device Out* out [[buffer(4)]],
                         uint group [[threadgroup_position_in_grid]],
                         uint lane [[thread_index_in_simdgroup]],
                         uint simdgroup [[simdgroup_index_in_threadgroup]],
                         uint simdgroups [[simdgroups_per_threadgroup]]) {
  const uint row = group * simdgroups + simdgroup;
  if (row >= params.rows) return;  // the whole simdgroup, and no other waits for it
  const uint head_dim = params.head_dim;
  norm_rope_head(x + ulong(row) * head_dim, weight, rope + ulong(row / params.num_heads) * head_dim,
                 out + ulong(row) * head_dim, head_dim, params.eps, 1.0f, lane);
}

typedef decltype(qk_norm_rope<float>) qk_norm_rope_kernel_f32;
typedef decltype(qk_norm_rope<half>) qk_norm_rope_kernel_f16;
template [[host_name("qk_norm_rope_f32")]] kernel qk_norm_rope_kernel_f32 qk_norm_rope<float>;
template [[host_name("qk_norm_rope_f16")]] kernel qk_norm_rope_kernel_f16 qk_norm_rope<half>;
