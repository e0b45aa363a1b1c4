// The common view of all block formats: a chunk of 256 weights as small integers, with a scale and,
// in some formats, a minimum for each sub-block of 16 or 32 of them:
//
//   weight[i] = scale[i / sub_elems] * q[i] - min[i / sub_elems]
//
// Each <format>-inl.h unpacks its blocks into a chunk; everything after that (decoding to f32, dot
// products) is the same code for all formats. A chunk stays in L1, so the detour costs one store
// and one load for every 32 or so weights, and no arithmetic.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_CHUNK_H_
#define DECANT_KERNELS_BLOCK_FORMATS_CHUNK_H_

#include <cstddef>
#include <cstdint>

namespace decant {

inline constexpr size_t kChunkElems = 256;

struct alignas(64) Chunk {
  int8_t q[kChunkElems];
  // One entry a sub-block, 8 or 16 of them; unpacking leaves the entries past those alone.
  float scale[16];
  float min[16];
};

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_CHUNK_H_
