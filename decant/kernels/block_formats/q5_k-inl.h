// SIMD side of q5_k.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q5_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q5_K_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q5_K_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q5_K_INL_H_
#endif

#include "decant/kernels/block_formats/q5_k.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ5_K {
  using Block = BlockQ5_K;
  static constexpr size_t kBlockElems = 256;
  static constexpr size_t kSubElems = 32;
  static constexpr bool kHasMin = true;

  static HWY_INLINE void unpack(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                Chunk& HWY_RESTRICT out) {
    const ScaleMinK4 packed = unpack_scale_min_k4(block->scales);
    scale_small<8>(packed.scale, f32_from_f16(block->d), out.scale);
    scale_small<8>(packed.min, f32_from_f16(block->dmin), out.min);

    const Bytes d;
    for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
      const auto high = hn::LoadU(d, block->qh + i);
      store<0>(hn::LoadU(d, block->qs + i), high, out.q + i);
      store<2>(hn::LoadU(d, block->qs + 32 + i), high, out.q + 64 + i);
      store<4>(hn::LoadU(d, block->qs + 64 + i), high, out.q + 128 + i);
      store<6>(hn::LoadU(d, block->qs + 96 + i), high, out.q + 192 + i);
    }
  }

 private:
  // Low nibbles with bit kBit of `high` as their bit 4, high nibbles with the bit after it.
  template <int kBit>
  static HWY_INLINE void store(hn::Vec<Bytes> both, hn::Vec<Bytes> high, int8_t* HWY_RESTRICT to) {
    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    const auto nibble = hn::Set(d, 15), bit4 = hn::Set(d, 16);
    const auto low_q = hn::Or(hn::And(both, nibble), hn::And(move_bit<kBit, 4>(high), bit4));
    const auto high_q = hn::Or(hn::And(shift_right_bits<4>(both), nibble),
                               hn::And(move_bit<kBit + 1, 4>(high), bit4));
    hn::Store(hn::BitCast(di, low_q), di, to);
    hn::Store(hn::BitCast(di, high_q), di, to + 32);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
