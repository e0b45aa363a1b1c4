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
  static constexpr size_t kStepElems = 128;
  static constexpr bool kHasMin = false;
  static constexpr int kOffset = 4;

  static HWY_INLINE void unpack_scales(const Block* HWY_RESTRICT block, size_t /*count is 1*/,
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
    const float d_scale = load_four_halves(block->scales + 6).value[3];
    scale_small<8>(scales, d_scale, out.scale);
    scale_small<8>(scales + 8, d_scale, out.scale + 8);
  }

  static HWY_INLINE void unpack_step(const Block* HWY_RESTRICT block, size_t step,
                                     int8_t* HWY_RESTRICT q) {
    const Bytes d;
    const hn::Repartition<uint16_t, Bytes> d16;
    for (size_t i = 0; i < 32; i += hn::Lanes(d)) {
      const auto bits = hn::LoadU(d, block->qs + step * 32 + i);
      // The bits of this half of the block become bits 0 to 3.
      const auto high =
          hn::BitCast(d, hn::ShiftRightSame(hn::BitCast(d16, hn::LoadU(d, block->hmask + i)),
                                            static_cast<int>(4 * step)));
      store(bits, move_bit<0, 2>(high), q + i);
      store(move_bit<2, 0>(bits), move_bit<1, 2>(high), q + 32 + i);
      store(move_bit<4, 0>(bits), high, q + 64 + i);
      store(move_bit<6, 0>(bits), move_bit<3, 2>(high), q + 96 + i);
    }
  }

  template <size_t kGroup>
  static HWY_INLINE Pieces load_pieces(const Block* HWY_RESTRICT block) {
    return {piece<kGroup>(block, 0), piece<kGroup>(block, 16)};
  }

 private:
  template <size_t kGroup>
  static HWY_INLINE hn::Vec<PieceBytes> piece(const Block* HWY_RESTRICT block, size_t at) {
    const PieceBytes d;
    constexpr int kBit = kGroup % 4 * 2, kHighBit = static_cast<int>(kGroup) - 2;
    const auto low = shift_pieces<kBit, kBit + 2, kBit + 4, kBit + 6>(
        hn::LoadDup128(d, block->qs + kGroup / 4 * 32 + at));
    const auto high = shift_pieces<kHighBit, kHighBit + 1, kHighBit + 2, kHighBit + 3>(
        hn::LoadDup128(d, block->hmask + at));
    return hn::Or(hn::And(low, hn::Set(d, 3)), hn::And(high, hn::Set(d, 4)));
  }

  // Takes the low 2 bits of `low` and bit 2 of `high`.
  static HWY_INLINE void store(hn::Vec<Bytes> low, hn::Vec<Bytes> high, int8_t* HWY_RESTRICT q) {
    const Bytes d;
    const auto both = hn::Or(hn::And(low, hn::Set(d, 3)), hn::And(high, hn::Set(d, 4)));
    store_q(hn::Sub(both, hn::Set(d, 4)), q);
  }
};

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
