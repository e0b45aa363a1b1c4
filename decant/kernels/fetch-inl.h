// Fetching memory ahead of its use.
#if defined(DECANT_KERNELS_FETCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DECANT_KERNELS_FETCH_INL_H_
#undef DECANT_KERNELS_FETCH_INL_H_
#else
#define DECANT_KERNELS_FETCH_INL_H_
#endif

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

// How far lines come up. Zen 3 waits for as many at a time in the first level as in the second.
// Zen 4 does not (11 GB/s a core into the first, 20 to 37 into the second); what tells them apart
// here is AVX-512.
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
inline constexpr bool kFetchesToL1 = false;
#else
inline constexpr bool kFetchesToL1 = true;
#endif

// The line of `address`, which may lie outside of all memory: nothing is read.
HWY_INLINE void fetch_line(const void* address) {
  __builtin_prefetch(address, 0, kFetchesToL1 ? 3 : 2);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
