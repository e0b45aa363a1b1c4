// SIMD side of q5_0.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q5_0_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q5_0_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q5_0_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q5_0_INL_H_
#endif

#include "decant/kernels/block_formats/q5_0.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ5_0 {
  using Block = BlockQ5_0;
  static constexpr size_t kBlockElems = 32;
  static constexpr size_t kSubElems = 32;
  static constexpr size_t kStepElems = 32;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 16;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT blocks, size_t count,
                                       Chunk& HWY_RESTRICT out) {
    load_f16_field(blocks, count, &Block::d, out.scale);
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT blocks, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    unpack_nibbles_32(blocks[step].qs, [&](size_t at, hn::Vec<Bytes> low) HWY_ATTR {
      // With bit 4 set, q - 16 is the nibble itself; without, the nibble below 0xF0 = -16.
      const auto bit4 = hn::LoadMaskBits(d, blocks[step].qh + at / 8);
      store_q(hn::Or(low, hn::IfThenZeroElse(bit4, hn::Set(d, 0xF0))), q + at);
    });
  }

  template <size_t kGroup>
  static HWY_INLINE Pieces load_pieces(const Block* HWY_RESTRICT blocks) {
    Pieces q = nibble_pieces(join_pieces([&](size_t i) HWY_ATTR { return blocks[kGroup + i].qs; }));
    add_bit4_pieces([&](size_t i) HWY_ATTR { return blocks[kGroup + i].qh; }, q);
    return q;
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
