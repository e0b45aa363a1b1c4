// The greatest elements of one chunk of floats, as keys of select.h.
#if defined(DECANT_KERNELS_SELECT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_SELECT_INL_H_
#undef DECANT_KERNELS_SELECT_INL_H_
#else
#define DECANT_KERNELS_SELECT_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>

#include "decant/kernels/select.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Elements whose maximum is looked at first; only blocks that can matter are looked at again.
inline constexpr size_t kSelectBlock = 64;
// The largest k that select_top_k serves: as many as a chunk has blocks.
inline constexpr size_t kSelectMaxK = kSelectChunk / kSelectBlock;

// NaN is passed over; -inf if there is nothing else.
template <class D>
HWY_INLINE float max_of(D d, const float* HWY_RESTRICT x, size_t n) {
  const size_t lanes = hn::Lanes(d);
  // A comparison with a NaN is false, so the NaN is not taken.
  const auto greater = [](auto v, auto best) { return hn::IfThenElse(hn::Gt(v, best), v, best); };
  auto best = hn::Set(d, -std::numeric_limits<float>::infinity());
  auto best1 = best, best2 = best, best3 = best;  // four chains, for the latency
  size_t i = 0;
  for (; i + 4 * lanes <= n; i += 4 * lanes) {
    best = greater(hn::LoadU(d, x + i), best);
    best1 = greater(hn::LoadU(d, x + i + lanes), best1);
    best2 = greater(hn::LoadU(d, x + i + 2 * lanes), best2);
    best3 = greater(hn::LoadU(d, x + i + 3 * lanes), best3);
  }
  for (; i + lanes <= n; i += lanes) best = greater(hn::LoadU(d, x + i), best);
  best = greater(greater(best1, best), greater(best2, best3));
  float result = hn::GetLane(hn::MaxOfLanes(d, best));
  for (; i < n; ++i)
    if (x[i] > result) result = x[i];
  return result;
}

// Calls found(i) for every i with x[i] >= floor, in ascending order.
template <class D, class Found>
HWY_INLINE void for_each_at_least(D d, const float* HWY_RESTRICT x, size_t n, float floor,
                                  const Found& found) {
  const size_t lanes = hn::Lanes(d);
  const auto vfloor = hn::Set(d, floor);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const auto mask = hn::Ge(hn::LoadU(d, x + i), vfloor);
    if (HWY_LIKELY(hn::AllFalse(d, mask))) continue;
    alignas(8) uint8_t bits[8] = {};
    hn::StoreMaskBits(d, mask, bits);
    for (size_t lane = 0; lane < lanes; ++lane)
      if (bits[lane / 8] >> (lane % 8) & 1) found(i + lane);
  }
  for (; i < n; ++i)
    if (x[i] >= floor) found(i);
}

// The greatest key of x[0, n); x[i] has index first + i. 1 <= n <= kSelectChunk.
template <class D>
uint64_t select_best(D d, const float* HWY_RESTRICT x, size_t n, uint32_t first) {
  // Blocks that are long enough to hide the reduction, short enough to be found again quickly.
  constexpr size_t kBlock = 1024;
  float best = -std::numeric_limits<float>::infinity();
  size_t best_block = 0;
  for (size_t begin = 0; begin < n; begin += kBlock) {
    const float here = max_of(d, x + begin, std::min(kBlock, n - begin));
    if (here > best) {
      best = here;
      best_block = begin;
    }
  }
  // The first element that is the maximum; from the chunk's start if nothing was above -inf.
  for (size_t i = best_block; i < n; ++i)
    if (x[i] == best) return order_key(x[i], first + static_cast<uint32_t>(i));
  return order_key(x[0], first);  // all are NaN
}

// Writes the min(k, n) greatest keys of x[0, n) to `out`, in no particular order, and returns how
// many. 1 <= n <= kSelectChunk, 1 <= k <= kSelectMaxK.
//
// k blocks have a maximum of at least the k-th greatest block maximum, so the k greatest elements
// are not below it: one pass at the speed of memory, then a look into little more than k blocks.
template <class D>
size_t select_top_k(D d, const float* HWY_RESTRICT x, size_t n, size_t k, uint32_t first,
                    uint64_t* HWY_RESTRICT out) {
  float maxima[kSelectMaxK], sorted[kSelectMaxK];
  const size_t blocks = (n - 1) / kSelectBlock + 1;
  for (size_t b = 0; b < blocks; ++b)
    maxima[b] = max_of(d, x + b * kSelectBlock, std::min(kSelectBlock, n - b * kSelectBlock));
  float floor = -std::numeric_limits<float>::infinity();
  if (k <= blocks) {
    std::copy(maxima, maxima + blocks, sorted);
    std::nth_element(sorted, sorted + (k - 1), sorted + blocks, std::greater<>());
    floor = sorted[k - 1];
  }

  uint64_t found[4 * kSelectMaxK];
  size_t count = 0;
  uint64_t least = 0;  // keys that are not greater cannot be among the k any more
  const auto prune = [&] {
    std::nth_element(found, found + (k - 1), found + count, std::greater<>());
    count = k;
    least = found[k - 1];
    floor = key_value(least);
  };
  for (size_t b = 0; b < blocks; ++b) {
    if (maxima[b] < floor) continue;
    const size_t begin = b * kSelectBlock;
    for_each_at_least(d, x + begin, std::min(kSelectBlock, n - begin), floor, [&](size_t i) {
      const uint64_t key = order_key(x[begin + i], first + static_cast<uint32_t>(begin + i));
      if (key > least) found[count++] = key;
    });
    if (count + kSelectBlock > sizeof found / sizeof *found) prune();
  }
  if (count > k) prune();
  // Too few are numbers: the rest is NaN.
  for (size_t i = 0; i < n && count < std::min(k, n); ++i)
    if (x[i] != x[i]) found[count++] = order_key(x[i], first + static_cast<uint32_t>(i));
  std::copy(found, found + count, out);
  return count;
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // DECANT_KERNELS_SELECT_INL_H_
