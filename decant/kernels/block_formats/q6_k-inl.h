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
  static constexpr size_t kStepElems = 128;
  static constexpr bool kHasMin = false;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                       Chunk& HWY_RESTRICT out) {
    scale_small<16>(block->scales, load_four_halves(block->scales + 10).value[3], out.scale);
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT block, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
      const auto first = hn::LoadU(d, block->ql + step * 64 + i);
      const auto second = hn::LoadU(d, block->ql + step * 64 + 32 + i);
      const auto high = hn::LoadU(d, block->qh + step * 32 + i);
      store(first, move_bit<0, 4>(high), q + i);
      store(second, move_bit<2, 4>(high), q + 32 + i);
      store(move_bit<4, 0>(first), high, q + 64 + i);
      store(move_bit<4, 0>(second), move_bit<6, 4>(high), q + 96 + i);
    }
  }

 private:
  // Takes the low nibbles of `low` and bits 4 and 5 of `high`.
  static HWY_INLINE void store(hn::Vec<Bytes> low, hn::Vec<Bytes> high, int8_t* HWY_RESTRICT q) {
    const Bytes d;
    const auto both = hn::Or(hn::And(low, hn::Set(d, 15)), hn::And(high, hn::Set(d, 0x30)));
    store_q(hn::Sub(both, hn::Set(d, 32)), q);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
