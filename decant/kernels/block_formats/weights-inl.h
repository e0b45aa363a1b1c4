// Every weight format as a class with the same few functions, for kernels that are templates of it:
// Unpack<Format> for the block formats (see chunk.h), Plain<Format> for f32, f16 and bf16, and
// decode_row_part for all of them.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_WEIGHTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_WEIGHTS_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_WEIGHTS_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_WEIGHTS_INL_H_
#endif

#include <cstddef>
#include <cstring>

#include "decant/kernels/block_formats/q2_k-inl.h"
#include "decant/kernels/block_formats/q3_k-inl.h"
#include "decant/kernels/block_formats/q4_0-inl.h"
#include "decant/kernels/block_formats/q4_1-inl.h"
#include "decant/kernels/block_formats/q4_k-inl.h"
#include "decant/kernels/block_formats/q5_0-inl.h"
#include "decant/kernels/block_formats/q5_1-inl.h"
#include "decant/kernels/block_formats/q5_k-inl.h"
#include "decant/kernels/block_formats/q6_k-inl.h"
#include "decant/kernels/block_formats/q8_0-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct PlainF32 {
  using Elem = float;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const Elem* HWY_RESTRICT from) {
    return hn::LoadU(d, from);
  }
};

struct PlainF16 {
  using Elem = uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const Elem* HWY_RESTRICT from) {
    return load_f16(d, from);
  }
};

struct PlainBF16 {
  using Elem = uint16_t;
  template <class D>
  static HWY_INLINE hn::Vec<D> load(D d, const Elem* HWY_RESTRICT from) {
    const hn::RebindToUnsigned<D> du32;
    const hn::Rebind<uint16_t, D> du16;
    return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, from))));
  }
};

// WeightsFormat of every format of DECANT_FOR_EACH_WEIGHT_FORMAT.
using WeightsF32 = PlainF32;
using WeightsF16 = PlainF16;
using WeightsBF16 = PlainBF16;
using WeightsQ4_0 = UnpackQ4_0;
using WeightsQ4_1 = UnpackQ4_1;
using WeightsQ5_0 = UnpackQ5_0;
using WeightsQ5_1 = UnpackQ5_1;
using WeightsQ8_0 = UnpackQ8_0;
using WeightsQ2_K = UnpackQ2_K;
using WeightsQ3_K = UnpackQ3_K;
using WeightsQ4_K = UnpackQ4_K;
using WeightsQ5_K = UnpackQ5_K;
using WeightsQ6_K = UnpackQ6_K;

template <class F>
concept BlockFormat = requires {
  typename F::Block;
};

// The blocks of a row from weight `first`, a multiple of kBlockElems, on.
template <BlockFormat F>
HWY_INLINE const typename F::Block* blocks_at(const std::byte* HWY_RESTRICT row, size_t first) {
  return reinterpret_cast<const typename F::Block*>(row) + first / F::kBlockElems;
}

// Decodes weights [first, first + elems) of a row to out[0, elems): as unpack_row_part. Bit-equal
// to the plain decoding, so no fused multiply and add.
template <BlockFormat F>
HWY_INLINE void decode_row_part(const std::byte* HWY_RESTRICT row, size_t first, size_t elems,
                                float* HWY_RESTRICT out) {
  const hn::CappedTag<float, F::kSubElems> d;
  const hn::RebindToSigned<decltype(d)> di;
  const hn::Rebind<int8_t, decltype(d)> di8;
  Chunk chunk;
  const typename F::Block* blocks = blocks_at<F>(row, first);
  F::unpack_scales(blocks, elems / F::kBlockElems, chunk);
  for (size_t i = 0; i < elems; i += F::kStepElems)
    F::unpack_step(blocks, i / F::kStepElems, chunk.q + i);
  for (size_t s = 0; s * F::kSubElems < elems; ++s) {
    const auto scale = hn::Set(d, chunk.scale[s]);
    for (size_t i = s * F::kSubElems; i < (s + 1) * F::kSubElems; i += hn::Lanes(d)) {
      const auto q = hn::ConvertTo(d, hn::PromoteTo(di, hn::Load(di8, chunk.q + i)));
      auto w = hn::Mul(scale, q);
      if constexpr (F::kHasMin) w = hn::Sub(w, hn::Set(d, chunk.min[s]));
      hn::StoreU(w, d, out + i);
    }
  }
}

// The same for a plain format, where first and elems may be anything.
template <class F>
HWY_INLINE void decode_row_part(const std::byte* HWY_RESTRICT row, size_t first, size_t elems,
                                float* HWY_RESTRICT out) {
  const hn::ScalableTag<float> d;
  using Elem = typename F::Elem;
  const Elem* HWY_RESTRICT from = reinterpret_cast<const Elem*>(row) + first;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= elems; i += hn::Lanes(d)) hn::StoreU(F::load(d, from + i), d, out + i);
  if (i < elems) {
    HWY_ALIGN Elem tail_in[hn::MaxLanes(d)] = {};
    HWY_ALIGN float tail_out[hn::MaxLanes(d)];
    std::memcpy(tail_in, from + i, (elems - i) * sizeof(Elem));
    hn::Store(F::load(d, tail_in), d, tail_out);
    std::memcpy(out + i, tail_out, (elems - i) * sizeof(float));
  }
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
