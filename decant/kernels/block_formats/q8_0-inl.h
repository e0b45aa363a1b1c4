// SIMD side of q8_0.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q8_0_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q8_0_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q8_0_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q8_0_INL_H_
#endif

#include "decant/kernels/block_formats/q8_0.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ8_0 {
  using Block = BlockQ8_0;
  static constexpr size_t kBlockElems = 32;
  static constexpr size_t kSubElems = 32;
  static constexpr bool kHasMin = false;

  // Unpacks `count` <= 8 blocks.
  static HWY_INLINE void unpack(const Block* HWY_RESTRICT blocks, size_t count,
                                Chunk& HWY_RESTRICT out) {
    const hn::RebindToSigned<Bytes> di;
    load_f16_field(blocks, count, &Block::d, out.scale);
    for (size_t b = 0; b < count; ++b)
      for (size_t i = 0; i < 32; i += hn::Lanes(di))
        hn::Store(hn::LoadU(di, blocks[b].qs + i), di, out.q + b * 32 + i);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
