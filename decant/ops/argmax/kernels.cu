#include "decant/kernels/select.cuh"
#include "decant/ops/argmax/params.h"

namespace decant {

// One block: one row of a single chunk.
extern "C" __global__ void argmax_row(const ArgmaxParams value, const ArgmaxParams* in_buffer,
                                      const float* x, int32_t* out) {
  const uint64_t row_elems = in_buffer ? in_buffer->row_elems : value.row_elems;
  const uint64_t key = select_best(x + blockIdx.x * row_elems, row_elems, 0);
  if (threadIdx.x == 0) out[blockIdx.x] = static_cast<int32_t>(key_index(key));
}

// One block: one chunk of one row.
extern "C" __global__ void argmax_chunk(const ArgmaxParams value, const ArgmaxParams* in_buffer,
                                        const float* x, uint64_t* keys) {
  const uint64_t row_elems = in_buffer ? in_buffer->row_elems : value.row_elems;
  const uint64_t begin = uint64_t{blockIdx.y} * kSelectChunk;
  const uint64_t key = select_best(x + blockIdx.x * row_elems + begin,
                                   std::min<uint64_t>(kSelectChunk, row_elems - begin), begin);
  if (threadIdx.x == 0) keys[uint64_t{blockIdx.x} * gridDim.y + blockIdx.y] = key;
}

// One thread: the best of a row's chunks.
extern "C" __global__ void argmax_merge(const ArgmaxParams value, const ArgmaxParams* in_buffer,
                                        const uint64_t* keys, int32_t* out) {
  const ArgmaxParams params = in_buffer ? *in_buffer : value;
  const uint32_t chunks = select_chunks(params.row_elems);
  const uint64_t row = uint64_t{blockIdx.x} * kArgmaxMergeRows + threadIdx.x;
  if (row >= params.rows) return;
  uint64_t best = 0;
  for (uint32_t c = 0; c < chunks; ++c) best = std::max(best, keys[row * chunks + c]);
  out[row] = static_cast<int32_t>(key_index(best));
}

}  // namespace decant
