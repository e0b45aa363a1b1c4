// A row of an embedding table. Compiled for one format at a time, the number of whose DType is
// DECANT_FORMAT; by NVRTC, so no standard headers.
#ifndef DECANT_OPS_EMBED_EMBED_CUH_
#define DECANT_OPS_EMBED_EMBED_CUH_

#include "decant/kernels/block_formats/q2_k.h"
#include "decant/kernels/block_formats/q3_k.h"
#include "decant/kernels/block_formats/q4_0.h"
#include "decant/kernels/block_formats/q4_1.h"
#include "decant/kernels/block_formats/q4_k.h"
#include "decant/kernels/block_formats/q5_0.h"
#include "decant/kernels/block_formats/q5_1.h"
#include "decant/kernels/block_formats/q5_k.h"
#include "decant/kernels/block_formats/q6_k.h"
#include "decant/kernels/block_formats/q8_0.h"
#include "decant/kernels/rows.cuh"
#include "decant/ops/embed/params.h"

namespace decant {

template <uint32_t kFormat>
struct Format;
#define DECANT_FORMAT_OF(number, BlockType, elems) \
  template <>                                      \
  struct Format<number> {                          \
    using Block = BlockType;                       \
    static constexpr uint32_t kElems = elems;      \
  };
DECANT_FORMAT_OF(0, float, 1)
DECANT_FORMAT_OF(1, F16, 1)
DECANT_FORMAT_OF(2, BF16, 1)
DECANT_FORMAT_OF(10, BlockQ4_0, 32)
DECANT_FORMAT_OF(11, BlockQ4_1, 32)
DECANT_FORMAT_OF(12, BlockQ5_0, 32)
DECANT_FORMAT_OF(13, BlockQ5_1, 32)
DECANT_FORMAT_OF(14, BlockQ8_0, 32)
DECANT_FORMAT_OF(15, BlockQ2_K, 256)
DECANT_FORMAT_OF(16, BlockQ3_K, 256)
DECANT_FORMAT_OF(17, BlockQ4_K, 256)
DECANT_FORMAT_OF(18, BlockQ5_K, 256)
DECANT_FORMAT_OF(19, BlockQ6_K, 256)
using Block = Format<DECANT_FORMAT>::Block;
constexpr uint32_t kBlockElems = Format<DECANT_FORMAT>::kElems;

// Plain formats are blocks of one element.
__device__ inline void decode(float block, float* out) { *out = block; }
__device__ inline void decode(F16 block, float* out) { *out = widen(block); }
__device__ inline void decode(BF16 block, float* out) { *out = widen(block); }

// Elements that embed_row decodes at once.
constexpr uint32_t kEmbedPart = 8192;

// Writes the row of `id` to `to`; NaN if there is none. Called by kThreads threads, whose barrier
// is `barrier`. A thread decodes whole blocks to shared memory, from where they are written in
// order.
template <uint32_t kThreads, typename Barrier>
__device__ void embed_row(const EmbedParams& p, const Block* table, int32_t token, float* to,
                          float (&decoded)[kEmbedPart], const Barrier& barrier) {
  // Negative ids become large.
  const auto id = static_cast<uint32_t>(token);
  if (id >= p.vocab) {
    for (uint32_t i = threadIdx.x; i < p.hidden; i += kThreads) to[i] = NAN;
    return;
  }
  const Block* row = table + uint64_t{id} * (p.hidden / kBlockElems);
  for (uint32_t part = 0; part < p.hidden; part += kEmbedPart) {
    const uint32_t elems = std::min(kEmbedPart, p.hidden - part);
    for (uint32_t i = threadIdx.x * kBlockElems; i < elems; i += kThreads * kBlockElems)
      decode(row[(part + i) / kBlockElems], decoded + i);
    barrier();
    for (uint32_t i = threadIdx.x; i < elems; i += kThreads) to[part + i] = decoded[i] * p.scale;
    barrier();
  }
}

}  // namespace decant

#endif  // DECANT_OPS_EMBED_EMBED_CUH_
