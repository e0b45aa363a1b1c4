// SIMD side of q2_k.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q2_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q2_K_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q2_K_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q2_K_INL_H_
#endif

#include "decant/kernels/block_formats/q2_k.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ2_K {
  using Block = BlockQ2_K;
  static constexpr size_t kBlockElems = 256;
  static constexpr size_t kSubElems = 16;
  static constexpr size_t kStepElems = 128;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                       Chunk& HWY_RESTRICT out) {
    const hn::FixedTag<uint8_t, 16> d16;
    alignas(16) uint8_t nibbles[2][16];
    const auto scales = hn::LoadU(d16, block->scales);
    hn::Store(hn::And(scales, hn::Set(d16, 15)), d16, nibbles[0]);
    hn::Store(hn::ShiftRight<4>(scales), d16, nibbles[1]);
    const FourHalves d_dmin = load_four_halves(block->qs + 60);
    scale_small<16>(nibbles[0], d_dmin.value[2], out.scale);
    scale_small<16>(nibbles[1], d_dmin.value[3], out.min);
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT block, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    const auto mask = hn::Set(d, 3);
    for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
      const auto bits = hn::LoadU(d, block->qs + step * 32 + i);
      store_q(hn::And(bits, mask), q + i);
      store_q(hn::And(move_bit<2, 0>(bits), mask), q + 32 + i);
      store_q(hn::And(move_bit<4, 0>(bits), mask), q + 64 + i);
      store_q(hn::And(move_bit<6, 0>(bits), mask), q + 96 + i);
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
    constexpr int kBit = kGroup % 4 * 2;
    const auto bits = hn::LoadDup128(d, block->qs + kGroup / 4 * 32 + at);
    return hn::And(shift_pieces<kBit, kBit + 2, kBit + 4, kBit + 6>(bits), hn::Set(d, 3));
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
