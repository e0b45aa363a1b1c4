// SIMD side of q3_k.h.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_Q3_K_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_Q3_K_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_Q3_K_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_Q3_K_INL_H_
#endif

#include "decant/kernels/block_formats/q3_k.h"
#include "decant/kernels/block_formats/unpack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

struct UnpackQ3_K {
  using Block = BlockQ3_K;
  static constexpr size_t kBlockElems = 256;
  static constexpr size_t kSubElems = 16;
  static constexpr bool kHasMin = false;

  static HWY_INLINE void unpack(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
                                Chunk& HWY_RESTRICT out) {
    // Four scales a word, as in q3_k.h: low nibbles of the first 8 bytes, high bits of the last 4.
    uint32_t words[3];
    std::memcpy(words, block->scales, 12);
    const auto [a, b, c] = words;
    const uint64_t s[2] = {((a & 0x0F0F0F0Fu) | (c << 4 & 0x30303030u)) |
                               uint64_t{(b & 0x0F0F0F0Fu) | (c << 2 & 0x30303030u)} << 32,
                           ((a >> 4 & 0x0F0F0F0Fu) | (c & 0x30303030u)) |
                               uint64_t{(b >> 4 & 0x0F0F0F0Fu) | (c >> 2 & 0x30303030u)} << 32};
    int8_t scales[16];
    for (size_t i = 0; i < 2; ++i) {
      // s - 32 in each byte: bytes below 64 borrow nothing from each other with the top bit set.
      const uint64_t minus_32 =
          ((s[i] | 0x8080808080808080u) - 0x2020202020202020u) ^ 0x8080808080808080u;
      std::memcpy(scales + i * 8, &minus_32, 8);
    }
    const float d_scale = f32_from_f16(block->d);
    scale_small<8>(scales, d_scale, out.scale);
    scale_small<8>(scales + 8, d_scale, out.scale + 8);

    const Bytes d;
    for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
      const auto high = hn::LoadU(d, block->hmask + i);
      const auto first = hn::LoadU(d, block->qs + i), second = hn::LoadU(d, block->qs + 32 + i);
      store<0, 0>(first, high, out.q + i);
      store<2, 1>(first, high, out.q + i + 32);
      store<4, 2>(first, high, out.q + i + 64);
      store<6, 3>(first, high, out.q + i + 96);
      store<0, 4>(second, high, out.q + i + 128);
      store<2, 5>(second, high, out.q + i + 160);
      store<4, 6>(second, high, out.q + i + 192);
      store<6, 7>(second, high, out.q + i + 224);
    }
  }

 private:
  template <int kShift, int kBit>
  static HWY_INLINE void store(hn::Vec<Bytes> bits, hn::Vec<Bytes> high, int8_t* HWY_RESTRICT to) {
    const Bytes d;
    const hn::RebindToSigned<Bytes> di;
    const auto low = hn::And(shift_right_bits<kShift>(bits), hn::Set(d, 3));
    const auto bit2 = hn::And(move_bit<kBit, 2>(high), hn::Set(d, 4));
    hn::Store(hn::BitCast(di, hn::Sub(hn::Or(low, bit2), hn::Set(d, 4))), di, to);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
