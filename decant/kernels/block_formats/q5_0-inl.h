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
  static constexpr bool kHasMin = false;

  // Unpacks `count` <= 8 blocks.
  static HWY_INLINE void unpack(const Block* HWY_RESTRICT blocks, size_t count,
                                Chunk& HWY_RESTRICT out) {
    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    load_f16_field(blocks, count, &Block::d, out.scale);
    for (size_t b = 0; b < count; ++b)
      unpack_nibbles_32(blocks[b].qs, [&](size_t at, hn::Vec<Bytes> low) HWY_ATTR {
        // With bit 4 set, q - 16 is the nibble itself; without, the nibble below 0xF0 = -16.
        const auto bit4 = hn::LoadMaskBits(d, blocks[b].qh + at / 8);
        const auto q = hn::Or(low, hn::IfThenZeroElse(bit4, hn::Set(d, 0xF0)));
        hn::Store(hn::BitCast(di, q), di, out.q + b * 32 + at);
      });
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
