// SIMD side of q5_1.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q5_1_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q5_1_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q5_1_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q5_1_INL_H_
#endif

#include "decant/kernels/block_formats/q5_1.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ5_1 {
  using Block = BlockQ5_1;
  static constexpr size_t kBlockElems = 32;
  static constexpr size_t kSubElems = 32;
  static constexpr size_t kStepElems = 32;
  static constexpr bool kHasMin = true;
  static constexpr int kOffset = 0;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT blocks, size_t count,
                                       Chunk& HWY_RESTRICT out) {
    load_f16_field(blocks, count, &Block::d, out.scale);
    load_f16_field(blocks, count, &Block::m, out.min);
    negate_8(out.min);  // m is added, the chunk's minimum subtracted
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT blocks, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    unpack_nibbles_32(blocks[step].qs, [&](size_t at, hn::Vec<Bytes> low) HWY_ATTR {
      const auto bit4 = hn::LoadMaskBits(d, blocks[step].qh + at / 8);
      store_q(hn::Or(low, hn::IfThenElseZero(bit4, hn::Set(d, 0x10))), q + at);
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
