#include "tools/decant/roofline_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/decant/roofline_kernels.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::cli::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Which way is the fastest depends on the CPU. Fetched towards the second-level cache: on Zen 4
// first-level misses are too few at a time to keep memory busy (11 GB/s a core that way, 30 this
// way). Plain: the prefetchers of Zen 3 do better alone (with both cores 28 GB/s fetched, 31 as one
// plain stream, 33 to 41 as two).
template <size_t kStreams, bool kPlain>
void read(const CpuGroup& group) {
  const hn::ScalableTag<uint32_t> d;
  const size_t lanes = hn::Lanes(d);
  constexpr size_t kWords = kReadGroupBytes / sizeof(uint32_t), kStreamWords = kWords / kStreams;
  constexpr size_t kAhead = 256;  // words; may reach past the end: a prefetch cannot fault
  constexpr size_t kLine = 16, kLines = 4 / kStreams;  // words of a cache line; lines a step
  const uint32_t* from = group.arg<const uint32_t>(0) + size_t{group.group.x} * kWords;
  auto a = hn::Zero(d), b = hn::Zero(d), c = hn::Zero(d), e = hn::Zero(d);
  for (size_t i = 0; i < kStreamWords; i += kLines * kLine) {
    // Line n of the four of a step.
    const auto line = [&](size_t n) {
      return from + n / kLines * kStreamWords + i + n % kLines * kLine;
    };
    for (size_t n = 0; n < 4 && !kPlain; ++n) __builtin_prefetch(line(n) + kAhead, 0, 2);
    for (size_t word = 0; word < kLine; word += lanes) {
      a = hn::Add(a, hn::LoadU(d, line(0) + word));
      b = hn::Add(b, hn::LoadU(d, line(1) + word));
      c = hn::Add(c, hn::LoadU(d, line(2) + word));
      e = hn::Add(e, hn::LoadU(d, line(3) + word));
    }
  }
  const auto sum = hn::Add(hn::Add(a, b), hn::Add(c, e));
  // Not their sum: GCC adds lanes as signed integers, which UBSan reports when it overflows.
  group.arg<uint32_t>(1)[group.group.x] = hn::GetLane(hn::MaxOfLanes(d, sum));
}
void roofline_read_1(const CpuGroup& group) { read<1, false>(group); }
void roofline_read_4(const CpuGroup& group) { read<4, false>(group); }

void roofline_read_2_plain(const CpuGroup& group) { read<2, true>(group); }

void roofline_fma(const CpuGroup& group) {
  const hn::ScalableTag<float> d;
  // Ten chains hide a latency of 4 to 5 cycles on two units and fit the 16 registers of AVX2. Each
  // starts elsewhere, or the compiler makes one of them: x * 0.5 + 0.5 ends at 1 from everywhere.
  constexpr size_t kChains = 10, kRounds = 20'000;
  const auto half = hn::Set(d, 0.5f);
  const auto start = [&](float x) HWY_ATTR { return hn::Set(d, x); };
  auto a = start(1.0f), b = start(1.1f), c = start(1.2f), e = start(1.3f), f = start(1.4f),
       g = start(1.5f), h = start(1.6f), i = start(1.7f), j = start(1.8f), k = start(1.9f);
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
HWY_EXPORT(roofline_read_1);
HWY_EXPORT(roofline_read_4);
HWY_EXPORT(roofline_read_2_plain);
HWY_EXPORT(roofline_fma);
void roofline_read_1(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(roofline_read_1)(group); }
void roofline_read_4(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(roofline_read_4)(group); }
void roofline_read_2_plain(const CpuGroup& group) {
  HWY_DYNAMIC_DISPATCH(roofline_read_2_plain)(group);
}
void roofline_fma(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(roofline_fma)(group); }
}  // namespace decant::cli::cpu
#endif
