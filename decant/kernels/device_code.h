// How a header says what host and GPU compilers spell differently.
#ifndef DECANT_KERNELS_DEVICE_CODE_H_
#define DECANT_KERNELS_DEVICE_CODE_H_

// A constant at namespace scope: Metal, which is C++14, wants its address space named and knows no
// inline variables.
#if defined(__METAL_VERSION__)
#define DECANT_CONSTANT constant constexpr
#else
#define DECANT_CONSTANT inline constexpr
#endif

#endif  // DECANT_KERNELS_DEVICE_CODE_H_
