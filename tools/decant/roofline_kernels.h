// CPU kernels of the roofline measurement.
#ifndef DECANT_TOOLS_DECANT_ROOFLINE_KERNELS_H_
#define DECANT_TOOLS_DECANT_ROOFLINE_KERNELS_H_

#include <cstddef>
#include <cstdint>

#include "decant/core/kernel_registry.h"

namespace decant::cli::cpu {

// Group i reads bytes [i, i + 1) * kReadGroupBytes of argument 0, as one, two or four streams, and
// writes a checksum to u32 i of argument 1, so that no read can be left out. "Plain" leaves all
// prefetching to the hardware.
inline constexpr size_t kReadWays = 3;
inline constexpr size_t kReadGroupBytes = size_t{512} << 10;
void roofline_read_1(const CpuGroup& group);
void roofline_read_4(const CpuGroup& group);
void roofline_read_2_plain(const CpuGroup& group);

// Group i does multiply-adds in registers only and writes their number, as flops, to f64 i of
// argument 0.
void roofline_fma(const CpuGroup& group);

}  // namespace decant::cli::cpu

#endif  // DECANT_TOOLS_DECANT_ROOFLINE_KERNELS_H_
