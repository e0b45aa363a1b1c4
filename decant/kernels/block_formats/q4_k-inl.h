// SIMD side of q4_k.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q4_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q4_K_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q4_K_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q4_K_INL_H_
#endif

#include "decant/kernels/block_formats/q4_k.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ4_K {
  using Block = BlockQ4_K;
  static constexpr size_t kBlockElems = 256;
  static constexpr size_t kSubElems = 32;
  static constexpr bool kHasMin = true;

  static HWY_INLINE void unpack(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                Chunk& HWY_RESTRICT out) {
    const ScaleMinK4 packed = unpack_scale_min_k4(block->scales);
    scale_small<8>(packed.scale, f32_from_f16(block->d), out.scale);
    scale_small<8>(packed.min, f32_from_f16(block->dmin), out.min);

    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    const auto mask = hn::Set(d, 15);
    for (size_t g = 0; g < 4; ++g)
      for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
        const auto both = hn::LoadU(d, block->qs + g * 32 + i);
        int8_t* HWY_RESTRICT to = out.q + g * 64 + i;
        hn::Store(hn::BitCast(di, hn::And(both, mask)), di, to);
        hn::Store(hn::BitCast(di, hn::And(shift_right_bits<4>(both), mask)), di, to + 32);
      }
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
