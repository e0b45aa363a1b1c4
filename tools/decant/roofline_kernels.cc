#include "tools/decant/roofline_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/decant/roofline_kernels.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/cache_control.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::cli::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void roofline_read(const CpuGroup& group) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  // Four streams: one page after the other leaves the prefetchers idle at each page's start.
  constexpr size_t kStreamWords = kReadGroupBytes / sizeof(uint32_t) / 4;
  constexpr size_t kPrefetchWords = 128;  // may reach past the end: a prefetch cannot fault
  const uint32_t* from = group.arg<const uint32_t>(0) + size_t{group.group.x} * 4 * kStreamWords;
  auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);
  for (size_t i = 0; i < kStreamWords; i += 2 * lanes) {
    for (size_t stream = 0; stream < 4; ++stream)
      hwy::Prefetch(from + stream * kStreamWords + i + kPrefetchWords);
    a = hn::Add(a, hn::LoadU(d, from + i));
    b = hn::Add(b, hn::LoadU(d, from + kStreamWords + i));
    c = hn::Add(c, hn::LoadU(d, from + 2 * kStreamWords + i));
    e = hn::Add(e, hn::LoadU(d, from + 3 * kStreamWords + i));
    a = hn::Add(a, hn::LoadU(d, from + i + lanes));
    b = hn::Add(b, hn::LoadU(d, from + kStreamWords + i + lanes));
    c = hn::Add(c, hn::LoadU(d, from + 2 * kStreamWords + i + lanes));
    e = hn::Add(e, hn::LoadU(d, from + 3 * kStreamWords + i + lanes));
  }
  const auto sum = hn::Add(hn::Add(a, b), hn::Add(c, e));
  // Not their sum: GCC adds lanes as signed integers, which UBSan reports when it overflows.
  group.arg<uint32_t>(1)[group.group.x] = hn::GetLane(hn::MaxOfLanes(d, sum));
}

void roofline_fma(const CpuGroup& group) {
  const hn::ScalableTag<float> d;
  // Ten chains hide a latency of 4 to 5 cycles on two units and fit the 16 registers of AVX2. The
  // values stay at 1: x * 0.5 + 0.5.
  constexpr size_t kChains = 10, kRounds = 20'000;
  const auto half = hn::Set(d, 0.5f);
  auto a = hn::Set(d, 1.0f), b = a, c = a, e = a, f = a, g = a, h = a, i = a, j = a, k = a;
  for (size_t round = 0; round < kRounds; ++round) {
    a = hn::MulAdd(a, half, half);
    b = hn::MulAdd(b, half, half);
    c = hn::MulAdd(c, half, half);
    e = hn::MulAdd(e, half, half);
    f = hn::MulAdd(f, half, half);
    g = hn::MulAdd(g, half, half);
    h = hn::MulAdd(h, half, half);
    i = hn::MulAdd(i, half, half);
    j = hn::MulAdd(j, half, half);
    k = hn::MulAdd(k, half, half);
  }
  const auto sum = hn::Add(hn::Add(hn::Add(a, b), hn::Add(c, e)),
                           hn::Add(hn::Add(hn::Add(f, g), hn::Add(h, i)), hn::Add(j, k)));
  // The mean of the lanes and chains is 1; using it keeps the loop.
  const auto mean = static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum))) /
                    static_cast<double>(kChains * hn::Lanes(d));
  group.arg<double>(0)[group.group.x] =
      mean * 2.0 * static_cast<double>(kChains * kRounds * hn::Lanes(d));
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cli::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cli::cpu {
HWY_EXPORT(roofline_read);
HWY_EXPORT(roofline_fma);
void roofline_read(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(roofline_read)(group); }
void roofline_fma(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(roofline_fma)(group); }
}  // namespace decant::cli::cpu
#endif
