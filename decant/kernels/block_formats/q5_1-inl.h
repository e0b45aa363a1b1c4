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
  static constexpr bool kHasMin = true;

  // Unpacks `count` <= 8 blocks.
  static HWY_INLINE void unpack(const Block* HWY_RESTRICT blocks, size_t count,
                                Chunk& HWY_RESTRICT out) {
    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    load_f16_field(blocks, count, &Block::d, out.scale);
    load_f16_field(blocks, count, &Block::m, out.min);
    negate_8(out.min);  // m is added, the chunk's minimum subtracted
    for (size_t b = 0; b < count; ++b)
      unpack_nibbles_32(blocks[b].qs, [&](size_t at, hn::Vec<Bytes> low) HWY_ATTR {
        const auto bit4 = hn::LoadMaskBits(d, blocks[b].qh + at / 8);
        const auto q = hn::Or(low, hn::IfThenElseZero(bit4, hn::Set(d, 0x10)));
        hn::Store(hn::BitCast(di, q), di, out.q + b * 32 + at);
      });
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
