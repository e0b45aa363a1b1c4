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
  static constexpr size_t kStepElems = 32;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 0;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT blocks, size_t count,
                                       Chunk& HWY_RESTRICT out) {
    load_f16_field(blocks, count, &Block::d, out.scale);
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT blocks, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    for (size_t i = 0; i < 32; i += hn::Lanes(d))
      store_q(hn::LoadU(d, reinterpret_cast<const uint8_t*>(blocks[step].qs) + i), q + i);
  }

  // As they are, signed.
  template <size_t kGroup>
  static HWY_INLINE Pieces load_pieces(const Block* HWY_RESTRICT blocks) {
    return {join_pieces([&](size_t i) HWY_ATTR { return blocks[kGroup + i].qs; }),
            join_pieces([&](size_t i) HWY_ATTR { return blocks[kGroup + i].qs + 16; })};
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
