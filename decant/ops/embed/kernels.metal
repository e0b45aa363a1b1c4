// Translation of cpu.cc. One threadgroup a token, eight weights a thread at a time.
#include <metal_stdlib>

#include "decant/kernels/metal/weights.h"
#include "decant/ops/embed/params.h"

using namespace metal;
using namespace decant;

template <class Row>
kernel void embed(constant EmbedParams& params [[buffer(0)]],
                  device const uchar* table [[buffer(1)]], device const int* ids [[buffer(2)]],
                  device float* out [[buffer(3)]], uint token [[threadgroup_position_in_grid]],
                  uint thread_index [[thread_index_in_threadgroup]],
                  uint threads [[threads_per_threadgroup]]) {
  // Negative ids become large.
  const uint id = uint(ids[token]);
  const bool known = id < params.vocab;
  device const uchar* row = table + (known ? id : 0u) * Row::bytes(params.hidden);
  device float* to = out + ulong(token) * params.hidden;
  for (uint i = thread_index * 8; i < params.hidden; i += threads * 8) {
    float w[8];
    Row::load8(row, i, params.hidden, w);
    for (uint t = 0; t < 8 && i + t < params.hidden; ++t)
      to[i + t] = known ? w[t] * params.scale : NAN;
  }
}

typedef decltype(embed<RowF32>) embed_kernel;
#define DECANT_EMBED(format, Format) \
  template [[host_name("embed_" #format)]] kernel embed_kernel embed<Row##Format>;
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_EMBED)
#undef DECANT_EMBED
