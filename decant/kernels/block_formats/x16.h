// q4_0, q5_0, q8_0, q4_k and q6_k with sixteen rows side by side, for products with one token.
//
// A block holds the same 32 or 256 columns of sixteen neighbouring rows, four columns of a row next
// to each other: so the four bytes of a lane meet the same four activations in every lane, the sums
// of a row stay in its lane, and no sum is taken across lanes. The blocks of sixteen rows follow
// one another, in the order of their columns; then come those of the next sixteen. Nothing is
// rounded: integers and scales are those of the file's format. So is the size, but for q4_k, whose
// 6-bit scales and minimums get a byte each.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_X16_H_
#define DECANT_KERNELS_BLOCK_FORMATS_X16_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>

#include "decant/core/dtype.h"
#include "decant/kernels/block_formats/q4_0.h"
#include "decant/kernels/block_formats/q4_k.h"
#include "decant/kernels/block_formats/q5_0.h"
#include "decant/kernels/block_formats/q6_k.h"
#include "decant/kernels/block_formats/q8_0.h"

// X(format, Format) for each format that has such an order.
#define DECANT_FOR_EACH_X16_FORMAT(X) \
  X(q4_0, Q4_0)                       \
  X(q5_0, Q5_0)                       \
  X(q8_0, Q8_0)                       \
  X(q4_k, Q4_K)                       \
  X(q6_k, Q6_K)

namespace decant {

inline constexpr size_t kX16Rows = 16;

// The low 4 bits of 32 columns: [i][row][c], low nibble column 8 i + c, high nibble 8 i + 4 + c.
using NibblesX16 = uint8_t[4][16][4];

struct BlockQ4_0_X16 {
  uint16_t d[16];  // f16, of each row
  NibblesX16 qs;
};
struct BlockQ5_0_X16 {
  uint16_t d[16];
  uint8_t qh[16][4];  // [row][c]: its bit j is bit 4 of column 4 j + c
  NibblesX16 qs;
};
struct BlockQ8_0_X16 {
  uint16_t d[16];
  int8_t qs[8][16][4];  // [j][row][c]: column 4 j + c
};
struct BlockQ4_K_X16 {
  uint16_t d[16], dmin[16];
  uint8_t scales[8][16], mins[8][16];  // of each 32 columns and row
  NibblesX16 qs[8];
};
struct BlockQ6_K_X16 {
  uint16_t d[16];
  int8_t scales[16][16];  // of each 16 columns and row
  struct Group {          // 32 columns
    uint8_t qh[2][16]
              [4];  // [k][row][c]: bits 2 f and 2 f + 1 are bits 4 and 5 of column 16 k + 4 f + c
    NibblesX16 ql;
  } groups[8];
};
static_assert(sizeof(BlockQ4_0_X16) == 16 * sizeof(BlockQ4_0));
static_assert(sizeof(BlockQ5_0_X16) == 16 * sizeof(BlockQ5_0));
static_assert(sizeof(BlockQ8_0_X16) == 16 * sizeof(BlockQ8_0));
static_assert(sizeof(BlockQ4_K_X16) == 16 * (sizeof(BlockQ4_K) + 4));
static_assert(sizeof(BlockQ6_K_X16) == 16 * sizeof(BlockQ6_K));

// What pack_weights makes of a format; nothing where it has nothing to offer.
constexpr std::optional<DType> x16_of(DType dtype) {
  switch (dtype) {
#define DECANT_CASE(format, Format) \
  case DType::k##Format:            \
    return DType::k##Format##_X16;
    DECANT_FOR_EACH_X16_FORMAT(DECANT_CASE)
#undef DECANT_CASE
    default:
      return std::nullopt;
  }
}
constexpr bool is_x16(DType dtype) {
  switch (dtype) {
#define DECANT_CASE(format, Format) case DType::k##Format##_X16:
    DECANT_FOR_EACH_X16_FORMAT(DECANT_CASE)
#undef DECANT_CASE
    return true;
    default:
      return false;
  }
}

// The bytes of four neighbouring columns, as a word: on a little-endian machine they keep their
// order.
namespace detail {

inline constexpr uint32_t kNibbles = 0x0F0F0F0F;

inline uint32_t load_word(const uint8_t* from) {
  uint32_t word;
  std::memcpy(&word, from, sizeof word);
  return word;
}
inline void store_word(uint32_t word, void* to) { std::memcpy(to, &word, sizeof word); }

// `four(j)`: the low 4 bits of columns 4 j to 4 j + 3.
template <class Four>
void pack_nibbles_x16(const Four& four, size_t row, NibblesX16& to) {
  for (size_t i = 0; i < 4; ++i) store_word(four(2 * i) | four(2 * i + 1) << 4, to[i][row]);
}

// Where low nibbles are columns 0 to 15 and high ones 16 to 31.
inline void pack_halves_x16(const uint8_t (&from)[16], size_t row, NibblesX16& to) {
  pack_nibbles_x16([&](size_t j) { return load_word(from + j % 4 * 4) >> (j / 4 * 4) & kNibbles; },
                   row, to);
}

}  // namespace detail

// Puts a block in the place of `row`, 0 to 15.
inline void pack_x16(const BlockQ4_0& from, size_t row, BlockQ4_0_X16& to) {
  to.d[row] = from.d;
  detail::pack_halves_x16(from.qs, row, to.qs);
}
inline void pack_x16(const BlockQ5_0& from, size_t row, BlockQ5_0_X16& to) {
  to.d[row] = from.d;
  const uint32_t bits = detail::load_word(from.qh);
  for (int c = 0; c < 4; ++c) {
    uint32_t b = bits >> c & 0x11111111;  // every fourth, moved together
    b = (b | b >> 3) & 0x03030303;
    b = (b | b >> 6) & 0x000F000F;
    to.qh[row][c] = static_cast<uint8_t>(b | b >> 12);
  }
  detail::pack_halves_x16(from.qs, row, to.qs);
}
inline void pack_x16(const BlockQ8_0& from, size_t row, BlockQ8_0_X16& to) {
  to.d[row] = from.d;
  for (size_t j = 0; j < 8; ++j) std::memcpy(to.qs[j][row], from.qs + 4 * j, 4);
}
inline void pack_x16(const BlockQ4_K& from, size_t row, BlockQ4_K_X16& to) {
  to.d[row] = from.d;
  to.dmin[row] = from.dmin;
  const ScaleMinK4 small = unpack_scale_min_k4(from.scales);
  for (size_t g = 0; g < 8; ++g) {
    to.scales[g][row] = small.scale[g];
    to.mins[g][row] = small.min[g];
    const uint8_t* qs = from.qs + g / 2 * 32;
    detail::pack_nibbles_x16(
        [&](size_t j) { return detail::load_word(qs + 4 * j) >> (g % 2 * 4) & detail::kNibbles; },
        row, to.qs[g]);
  }
}
inline void pack_x16(const BlockQ6_K& from, size_t row, BlockQ6_K_X16& to) {
  to.d[row] = from.d;
  for (size_t s = 0; s < 16; ++s) to.scales[s][row] = from.scales[s];
  for (size_t g = 0; g < 8; ++g) {
    const size_t h = g / 4, part = g % 4;
    const uint8_t* ql = from.ql + 64 * h + part % 2 * 32;
    const uint8_t* qh = from.qh + 32 * h;
    BlockQ6_K_X16::Group& group = to.groups[g];
    detail::pack_nibbles_x16(
        [&](size_t j) {
          return detail::load_word(ql + 4 * j) >> (part / 2 * 4) & detail::kNibbles;
        },
        row, group.ql);
    for (size_t k = 0; k < 2; ++k) {
      uint32_t fields = 0;
      for (size_t f = 0; f < 4; ++f)
        fields |= (detail::load_word(qh + 16 * k + 4 * f) >> (2 * part) & 0x03030303) << (2 * f);
      detail::store_word(fields, group.qh[k][row]);
    }
  }
}

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_X16_H_
