// SIMD side of q6_k.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q6_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q6_K_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q6_K_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q6_K_INL_H_
#endif

#include "decant/kernels/block_formats/q6_k.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ6_K {
  using Block = BlockQ6_K;
  static constexpr size_t kBlockElems = 256;
  static constexpr size_t kSubElems = 16;
  static constexpr bool kHasMin = false;

  static HWY_INLINE void unpack(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                Chunk& HWY_RESTRICT out) {
    scale_small<16>(block->scales, f32_from_f16(block->d), out.scale);

    const Bytes d;
    for (size_t h = 0; h < 2; ++h)
      for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
        const auto first = hn::LoadU(d, block->ql + h * 64 + i);
        const auto second = hn::LoadU(d, block->ql + h * 64 + 32 + i);
        const auto high = hn::LoadU(d, block->qh + h * 32 + i);
        int8_t* HWY_RESTRICT to = out.q + h * 128 + i;
        store(first, move_bit<0, 4>(high), to);
        store(second, move_bit<2, 4>(high), to + 32);
        store(shift_right_bits<4>(first), high, to + 64);
        store(shift_right_bits<4>(second), move_bit<6, 4>(high), to + 96);
      }
  }

 private:
  // Takes the low nibbles of `low` and bits 4 and 5 of `high`.
  static HWY_INLINE void store(hn::Vec<Bytes> low, hn::Vec<Bytes> high, int8_t* HWY_RESTRICT to) {
    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    const auto q = hn::Or(hn::And(low, hn::Set(d, 15)), hn::And(high, hn::Set(d, 0x30)));
    hn::Store(hn::BitCast(di, hn::Sub(q, hn::Set(d, 32))), di, to);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
