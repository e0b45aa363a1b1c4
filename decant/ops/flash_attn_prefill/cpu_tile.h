// How the CPU cuts the work, and the scratch of one tile. Read by the plan and by the kernel.
#ifndef DECANT_OPS_FLASH_ATTN_PREFILL_CPU_TILE_H_
#define DECANT_OPS_FLASH_ATTN_PREFILL_CPU_TILE_H_

#include <cstddef>

namespace decant::prefill {

// A row is one query head of one token. A group of the grid computes kTileRows consecutive rows of
// one KV head, token by token (all query heads of the KV head, then the next token), and walks over
// the keys in blocks of kBlockKeys.
inline constexpr size_t kTileRows = 64;
inline constexpr size_t kBlockKeys = 64;
// Rows and dimensions are padded with zeros to whole micro-kernels, which are at most this wide.
inline constexpr size_t kMaxStrip = 32;

// Offsets in floats from the start of the scratch. Each is a multiple of 16 floats.
struct TileScratch {
  size_t q;        // [panel][head_dim][strip]: queries transposed, rows in the lanes
  size_t k;        // [kBlockKeys][head_dim]
  size_t v;        // [strip of dims][kBlockKeys][strip]
  size_t p;        // [kBlockKeys][kTileRows]: scores, then their exponentials
  size_t acc;      // [kTileRows][padded_dim]: unnormalised output
  size_t row_max;  // [kTileRows] each, from here on
  size_t row_sum;
  size_t factor;
  size_t first;  // int32: keys [first, last) of the block are attended
  size_t last;
  size_t total;
};

constexpr size_t padded_dim(size_t head_dim) {
  return (head_dim + kMaxStrip - 1) / kMaxStrip * kMaxStrip;
}

constexpr TileScratch tile_scratch(size_t head_dim) {
  TileScratch s{};
  size_t end = 0;
  const auto take = [&](size_t floats) {
    const size_t begin = end;
    end += floats;
    return begin;
  };
  s.q = take(kTileRows * head_dim);
  s.k = take(kBlockKeys * head_dim);
  s.v = take(kBlockKeys * padded_dim(head_dim));
  s.p = take(kBlockKeys * kTileRows);
  s.acc = take(kTileRows * padded_dim(head_dim));
  s.row_max = take(kTileRows);
  s.row_sum = take(kTileRows);
  s.factor = take(kTileRows);
  s.first = take(kTileRows);
  s.last = take(kTileRows);
  s.total = end;
  return s;
}

}  // namespace decant::prefill

#endif  // DECANT_OPS_FLASH_ATTN_PREFILL_CPU_TILE_H_
