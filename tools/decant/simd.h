// Which instruction set the kernels use.
#ifndef DECANT_TOOLS_DECANT_SIMD_H_
#define DECANT_TOOLS_DECANT_SIMD_H_

#include <string>

namespace decant::cli {

// From now on kernels run with this instruction set and no other, whatever else the CPU has:
// "sse4", "avx2", "avx3_dl", ... Call it before a device is opened, as that remembers the name.
// Throws UsageError, naming those that there are, if the CPU lacks it or the kernels were not
// compiled for it.
void force_simd(const std::string& name);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_SIMD_H_
