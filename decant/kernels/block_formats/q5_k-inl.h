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
  static constexpr size_t kStepElems = 64;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                       Chunk& HWY_RESTRICT out) {
    const ScaleMinK4 packed = unpack_scale_min_k4(block->scales);
    const FourHalves d_dmin = load_four_halves(block);
    scale_small<8>(packed.scale, d_dmin.value[0], out.scale);
    scale_small<8>(packed.min, d_dmin.value[1], out.min);
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT block, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    const hn::Repartition<uint16_t, Bytes> d16;
    const auto mask = hn::Set(d, 15), bit4 = hn::Set(d, 16);
    for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
      const auto both = hn::LoadU(d, block->qs + step * 32 + i);
      // The bits of these 64 weights become bits 0 and 1.
      const auto high =
          hn::BitCast(d, hn::ShiftRightSame(hn::BitCast(d16, hn::LoadU(d, block->qh + i)),
                                            static_cast<int>(2 * step)));
      store_q(hn::Or(hn::And(both, mask), hn::And(move_bit<0, 4>(high), bit4)), q + i);
      store_q(hn::Or(hn::And(move_bit<4, 0>(both), mask), hn::And(move_bit<1, 4>(high), bit4)),
              q + 32 + i);
    }
  }

  template <size_t kGroup>
  static HWY_INLINE Pieces load_pieces(const Block* HWY_RESTRICT block) {
    return {piece<kGroup>(block, 0), piece<kGroup>(block, 16)};
  }

 private:
  template <size_t kGroup>
  static HWY_INLINE hn::Vec<PieceBytes> piece(const Block* HWY_RESTRICT block, size_t at) {
    const PieceBytes d;
    const auto both =
        join_pieces([&](size_t i) HWY_ATTR { return block->qs + (kGroup + i) / 2 * 32 + at; });
    constexpr int kNow = kGroup % 2 * 4, kNext = 4 - kNow;
    const auto low = hn::And(shift_pieces<kNow, kNext, kNow, kNext>(both), hn::Set(d, 15));
    constexpr int kBit = static_cast<int>(kGroup) - 4;
    const auto high =
        shift_pieces<kBit, kBit + 1, kBit + 2, kBit + 3>(hn::LoadDup128(d, block->qh + at));
    return hn::Or(low, hn::And(high, hn::Set(d, 16)));
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
