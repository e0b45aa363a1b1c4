// What cpu.cc does in double, in 64-bit integers: Metal has no double, and f32 loses large
// positions. Every result is rounded once, to f32.
#include <metal_stdlib>

#include "decant/kernels/metal/integer.h"
#include "decant/ops/rope_table/params.h"

using namespace metal;
using namespace decant;

// Numbers of [0, 1] in units of 2^-63.
constant constexpr ulong kOne = 1ul << 63;
static ulong multiply(ulong a, ulong b) { return multiply_high(a, b) << 1; }

// 1 - u / (k (k + 1)) (1 - u / ((k + 2) (k + 3)) (...)), six factors, u = x^2: the Taylor series of
// cos x for k = 1, of sin x / x for k = 2. For x <= pi / 4 the first term left out is below 4e-13.
static ulong alternating(ulong u, uint k) {
  ulong sum = kOne;
  for (uint i = k + 10;; i -= 2) {
    sum = kOne - multiply(u, sum) / (i * (i + 1));
    if (i == k) return sum;
  }
}

struct CosSin {
  float cos, sin;
};
// Of an angle in units of 2^-64 turns.
static CosSin cos_sin(ulong angle) {
  // The nearest multiple of a quarter turn, and what is left: at most an eighth.
  const ulong quarter = (angle + (1ul << 61)) >> 62;
  const ulong rest = angle - (quarter << 62);
  const bool negative = rest >> 63 != 0;
  // pi / 2 in units of 2^-63, times four eighths at most.
  const ulong x = multiply_high((negative ? 0ul - rest : rest) << 2, 0xC90FDAA22168C235ul);
  const ulong u = multiply(x, x);
  const float cosine = float(alternating(u, 1)) * 0x1p-63f;
  const float size = float(multiply(x, alternating(u, 2))) * 0x1p-63f;
  const float sine = negative ? -size : size;
  if (quarter == 0) return {cosine, sine};
  if (quarter == 1) return {-sine, cosine};
  if (quarter == 2) return {-cosine, -sine};
  return {sine, -cosine};
}

kernel void rope_table_f32(constant RopeTableTurns& params [[buffer(0)]],
                           device const uint& position [[buffer(1)]],
                           device float* out [[buffer(2)]], uint2 at [[thread_position_in_grid]]) {
  if (at.x >= params.num_pairs || at.y >= params.tokens) return;
  const CosSin result = cos_sin((ulong(position) + at.y) * params.turns[at.x]);
  device float* row = out + ulong(at.y) * 2 * params.pairs + params.first_pair + at.x;
  row[0] = result.cos;
  row[params.pairs] = result.sin;
}
