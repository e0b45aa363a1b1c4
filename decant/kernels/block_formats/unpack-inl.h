// What the unpackers of the block formats share. Each is a class with
//   Block, kBlockElems    the format's block and the weights in it
//   kSubElems, kHasMin    how the chunk (chunk.h) is to be read
//   unpack_scales         scales and minimums of a chunk's blocks: `count` of them, at most
//                         kChunkElems / kBlockElems; entries past the last sub-block, up to 8, are
//                         0
//   unpack_step, kStepElems  the integers of that many weights, steps counted from the chunk's
//   first
//   load_pieces, kOffset  see pieces-inl.h
// so that a kernel can use the integers of a step before it unpacks the next: the two kinds of work
// then overlap in the processor.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_UNPACK_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_UNPACK_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_UNPACK_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_UNPACK_INL_H_
#endif

#include <hwy/highway.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "decant/kernels/block_formats/chunk.h"
#include "decant/kernels/block_formats/pieces-inl.h"
#include "decant/kernels/float16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Bytes of a vector over the 32 weights of a block or sub-block: 32, or 16 where that is all.
using Bytes = hn::CappedTag<uint8_t, 32>;

// Bit kFrom and those above it of each byte at kTo and above. Done in 16-bit lanes, so bits above
// 7 - kFrom + kTo or below kTo may come from the neighbour: mask the result.
template <int kFrom, int kTo>
HWY_INLINE hn::Vec<Bytes> move_bit(hn::Vec<Bytes> v) {
  const Bytes d;
  const hn::Repartition<uint16_t, Bytes> d16;
  if constexpr (kFrom > kTo) {
    return hn::BitCast(d, hn::ShiftRight<kFrom - kTo>(hn::BitCast(d16, v)));
  } else if constexpr (kFrom < kTo) {
    return hn::BitCast(d, hn::ShiftLeft<kTo - kFrom>(hn::BitCast(d16, v)));
  } else {
    return v;
  }
}

HWY_INLINE void store_q(hn::Vec<Bytes> q, int8_t* HWY_RESTRICT to) {
  const hn::RebindToSigned<Bytes> d;
  hn::Store(hn::BitCast(d, q), d, to);
}

// Four bits a weight, 32 weights in 16 bytes: low nibbles first. Calls store(at, q) with the q of
// weights at to at + Lanes(Bytes()) - 1.
template <class Store>
HWY_INLINE void unpack_nibbles_32(const uint8_t* HWY_RESTRICT from, Store&& store) {
  const Bytes d;
  const auto mask = hn::Set(d, 15);
#if HWY_MAX_BYTES >= 32
  // The high nibbles move into the upper half; the mask removes what came from the byte above.
  const auto twice = hn::LoadDup128(d, from);
  store(0, hn::And(hn::ConcatUpperLower(d, move_bit<4, 0>(twice), twice), mask));
#else
  const auto both = hn::LoadU(d, from);
  store(0, hn::And(both, mask));
  store(16, hn::And(move_bit<4, 0>(both), mask));
#endif
}

// The f16 `field` of `count` <= 8 blocks as f32. What follows the last of them up to out[8] is 0.
template <class Block>
HWY_INLINE void load_f16_field(const Block* HWY_RESTRICT blocks, size_t count,
                               uint16_t Block::*field, float* HWY_RESTRICT out) {
  // Collected in registers: a vector load from 2-byte stores could not be forwarded.
  uint64_t packed[2] = {0, 0};
  HWY_UNROLL(2)
  for (size_t i = 0; i < 8; i += 4) {
    if (i + 4 <= count) {
      packed[i / 4] = uint64_t{blocks[i].*field} | uint64_t{blocks[i + 1].*field} << 16 |
                      uint64_t{blocks[i + 2].*field} << 32 | uint64_t{blocks[i + 3].*field} << 48;
    } else {
      for (size_t k = i; k < count; ++k)
        packed[i / 4] |= uint64_t{blocks[k].*field} << (16 * (k - i));
    }
  }
#if HWY_MAX_BYTES >= 32
  const hn::FixedTag<uint64_t, 2> d64;
  const hn::FixedTag<float, 8> d;
  const hn::Rebind<hwy::float16_t, decltype(d)> d16;
  const auto halves = hn::InterleaveLower(d64, hn::Set(d64, packed[0]), hn::Set(d64, packed[1]));
  hn::StoreU(hn::PromoteTo(d, hn::BitCast(d16, halves)), d, out);
#else
  const hn::FixedTag<float, 4> d;
  HWY_UNROLL(2)
  for (size_t i = 0; i < 2; ++i) {
    uint16_t four[4];
    std::memcpy(four, &packed[i], sizeof four);
    hn::StoreU(load_f16(d, four), d, out + 4 * i);
  }
#endif
}

// The four halves at `at` as f32; where a block has fewer scales together, its neighbouring bytes
// stand for the others.
struct FourHalves {
  float value[4];
};
HWY_INLINE FourHalves load_four_halves(const void* HWY_RESTRICT at) {
  const hn::FixedTag<float, 4> d;
  FourHalves result;
  hn::StoreU(load_f16(d, static_cast<const uint16_t*>(at)), d, result.value);
  return result;
}

// Flips the sign of 8 values.
HWY_INLINE void negate_8(float* HWY_RESTRICT values) {
  const hn::CappedTag<float, 8> d;
  for (size_t i = 0; i < 8; i += hn::Lanes(d))
    hn::StoreU(hn::Neg(hn::LoadU(d, values + i)), d, values + i);
}

// out[i] = factor * from[i] for i < kCount.
template <size_t kCount, class T>
HWY_INLINE void scale_small(const T* HWY_RESTRICT from, float factor, float* HWY_RESTRICT out) {
  const hn::CappedTag<float, kCount> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<T, decltype(d)> dt;
  const auto scale = hn::Set(d, factor);
  for (size_t i = 0; i < kCount; i += hn::Lanes(d)) {
    const auto wide = hn::ConvertTo(d, hn::PromoteTo(di, hn::LoadU(dt, from + i)));
    hn::StoreU(hn::Mul(scale, wide), d, out + i);
  }
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
