// Unpacking for integer products, without memory between. Weights come in groups of 32, a group's
// first 16 in one vector and its last 16 at the same place of another:
//
//   F::load_pieces<kGroup>(blocks)    groups kGroup, kGroup + 1, ... of a chunk, one for each 16
//   bytes of a vector, as unsigned integers q + F::kOffset; q8_0's are signed
//
// So 4 lanes of 32 bits can take the sum of a whole group, on vectors of any width, and the
// integers of the 4- and 5-bit formats need no shuffle.
#if defined(DECANT_KERNELS_BLOCK_FORMATS_PIECES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_BLOCK_FORMATS_PIECES_INL_H_
#undef DECANT_KERNELS_BLOCK_FORMATS_PIECES_INL_H_
#else
#define DECANT_KERNELS_BLOCK_FORMATS_PIECES_INL_H_
#endif

#include <hwy/highway.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using PieceBytes = hn::CappedTag<uint8_t, 64>;
inline constexpr size_t kPieces = hn::MaxLanes(PieceBytes()) / 16;  // 1, 2 or 4

struct Pieces {
  hn::Vec<PieceBytes> first, second;
};

// A vector of the 128-bit vectors piece(0), piece(1), ...
template <class Piece>
HWY_INLINE hn::Vec<PieceBytes> combine_pieces(const Piece& piece) {
#if HWY_MAX_BYTES >= 64
  const hn::FixedTag<uint8_t, 32> d32;
  return hn::Combine(PieceBytes(), hn::Combine(d32, piece(3), piece(2)),
                     hn::Combine(d32, piece(1), piece(0)));
#elif HWY_MAX_BYTES == 32
  return hn::Combine(PieceBytes(), piece(1), piece(0));
#else
  return piece(0);
#endif
}

// The 16 bytes at each of at(0), at(1), ...
template <class At>
HWY_INLINE hn::Vec<PieceBytes> join_pieces(const At& at) {
  return combine_pieces([&](size_t i) HWY_ATTR {
    return hn::LoadU(hn::FixedTag<uint8_t, 16>(), reinterpret_cast<const uint8_t*>(at(i)));
  });
}

// Shifts the bits of piece i right by the i-th number, or left if that is negative. Done in 32-bit
// lanes, so bits of neighbouring bytes may come in: mask the result.
template <int kFirst, int kSecond, int kThird, int kFourth>
HWY_INLINE hn::Vec<PieceBytes> shift_pieces(hn::Vec<PieceBytes> v) {
  const PieceBytes d;
  const hn::Repartition<uint32_t, PieceBytes> d32;
  constexpr std::array<int, 4> kBits = {kFirst, kSecond, kThird, kFourth};
  constexpr bool kSame = [&] {
    for (size_t i = 1; i < kPieces; ++i)
      if (kBits[i] != kFirst) return false;
    return true;
  }();
  const auto v32 = hn::BitCast(d32, v);
  if constexpr (kSame) {
    if constexpr (kFirst >= 0)
      return hn::BitCast(d, hn::ShiftRight<kFirst>(v32));
    else
      return hn::BitCast(d, hn::ShiftLeft<-kFirst>(v32));
  } else {
#if HWY_MAX_BYTES >= 64
    constexpr bool kLeft = false, kRotate = true;  // one instruction for both directions
#else
    constexpr bool kLeft = kFirst < 0, kRotate = false;
    static_assert(!kLeft || kSecond <= 0);
#endif
    alignas(64) static constexpr auto kCounts = [&] {
      std::array<uint32_t, hn::MaxLanes(d32)> counts{};
      for (size_t i = 0; i < counts.size(); ++i) {
        const int bits = kBits[i / 4];
        counts[i] = static_cast<uint32_t>(kRotate ? bits & 31 : kLeft ? -bits : bits);
      }
      return counts;
    }();
    const auto counts = hn::Load(d32, kCounts.data());
#if HWY_MAX_BYTES >= 64
    return hn::BitCast(d, hn::Vec<decltype(d32)>{_mm512_rorv_epi32(v32.raw, counts.raw)});
#else
    return hn::BitCast(d, kLeft ? hn::Shl(v32, counts) : hn::Shr(v32, counts));
#endif
  }
}

// The low nibbles of 16 bytes are a group's first weights, the high ones its last.
HWY_INLINE Pieces nibble_pieces(hn::Vec<PieceBytes> both) {
  const PieceBytes d;
  const auto mask = hn::Set(d, 15);
  return {hn::And(both, mask), hn::And(shift_pieces<4, 4, 4, 4>(both), mask)};
}

// Adds 16 to the weights whose bit is set in the 32 at at(0), at(1), ...: bit i of each for weight
// i.
template <class At>
HWY_INLINE void add_bit4_pieces(const At& at, Pieces& q) {
  const PieceBytes d;
  alignas(16) static constexpr uint8_t kByteOfFirst[16] = {0, 0, 0, 0, 0, 0, 0, 0,
                                                           1, 1, 1, 1, 1, 1, 1, 1};
  alignas(16) static constexpr uint8_t kByteOfSecond[16] = {2, 2, 2, 2, 2, 2, 2, 2,
                                                            3, 3, 3, 3, 3, 3, 3, 3};
  alignas(16) static constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128,
                                                   1, 2, 4, 8, 16, 32, 64, 128};
  const auto bits = combine_pieces([&](size_t i) HWY_ATTR {
    uint32_t bits32;
    std::memcpy(&bits32, at(i), sizeof bits32);
    return hn::BitCast(hn::FixedTag<uint8_t, 16>(), hn::Set(hn::FixedTag<uint32_t, 4>(), bits32));
  });
  const auto bit = hn::LoadDup128(d, kBit), sixteen = hn::Set(d, 16);
  const auto add = [&](hn::Vec<PieceBytes> nibbles, const uint8_t* byte) HWY_ATTR {
    const auto spread = hn::TableLookupBytes(bits, hn::LoadDup128(d, byte));
    return hn::Or(nibbles, hn::IfThenElseZero(hn::TestBit(spread, bit), sixteen));
  };
  q.first = add(q.first, kByteOfFirst);
  q.second = add(q.second, kByteOfSecond);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
