// Philox4x32-10, a counter-based generator of random numbers: a pure function of key and counter,
// so that any step's number can be had without the ones before it. Host and device code.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
#ifndef DECANT_KERNELS_PHILOX_H_
#define DECANT_KERNELS_PHILOX_H_

#include <cstdint>

namespace decant {

struct Philox4 {
  uint32_t x[4];
};

inline Philox4 philox4x32_10(Philox4 counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * counter.x[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * counter.x[2];
    counter = {{static_cast<uint32_t>(p1 >> 32) ^ counter.x[1] ^ key0, static_cast<uint32_t>(p1),
                static_cast<uint32_t>(p0 >> 32) ^ counter.x[3] ^ key1, static_cast<uint32_t>(p0)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

#if !defined(__METAL_VERSION__)  // Metal has no double
// The uniform number of [0, 1), a multiple of 2^-53, that belongs to `step` of `seed`.
inline double sample_uniform(uint64_t seed, uint64_t step) {
  const Philox4 r =
      philox4x32_10({{static_cast<uint32_t>(step), static_cast<uint32_t>(step >> 32), 0, 0}},
                    static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return static_cast<double>((uint64_t{r.x[0]} << 32 | r.x[1]) >> 11) * 0x1p-53;
}
#endif

}  // namespace decant

#endif  // DECANT_KERNELS_PHILOX_H_
