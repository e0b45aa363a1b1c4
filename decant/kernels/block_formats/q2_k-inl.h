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
  static constexpr bool kHasMin = true;

  static HWY_INLINE void unpack(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                Chunk& HWY_RESTRICT out) {
    const hn::FixedTag<uint8_t, 16> d16;
    alignas(16) uint8_t nibbles[2][16];
    const auto scales = hn::LoadU(d16, block->scales);
    hn::Store(hn::And(scales, hn::Set(d16, 15)), d16, nibbles[0]);
    hn::Store(hn::ShiftRight<4>(scales), d16, nibbles[1]);
    scale_small<16>(nibbles[0], f32_from_f16(block->d), out.scale);
    scale_small<16>(nibbles[1], f32_from_f16(block->dmin), out.min);

    const Bytes d;
    for (size_t h = 0; h < 2; ++h)
      for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
        const auto bits = hn::LoadU(d, block->qs + h * 32 + i);
        int8_t* HWY_RESTRICT to = out.q + h * 128 + i;
        store<0>(bits, to);
        store<2>(bits, to + 32);
        store<4>(bits, to + 64);
        store<6>(bits, to + 96);
      }
  }

 private:
  template <int kShift>
  static HWY_INLINE void store(hn::Vec<Bytes> bits, int8_t* HWY_RESTRICT to) {
    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    hn::Store(hn::BitCast(di, hn::And(shift_right_bits<kShift>(bits), hn::Set(d, 3))), di, to);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
