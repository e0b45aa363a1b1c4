// An entry of the table. In double: positions of long contexts turn the fast pairs many thousand
// times. Compiled by NVRTC, so no standard headers.
#ifndef DECANT_OPS_ROPE_TABLE_ROPE_TABLE_CUH_
#define DECANT_OPS_ROPE_TABLE_ROPE_TABLE_CUH_

#include "decant/ops/rope_table/params.h"

namespace decant {

__device__ inline double rope_frequency(const RopeTableParams& p, uint64_t pair) {
  return pow(p.base, -static_cast<double>(pair) / static_cast<double>(p.pairs));
}

__device__ inline void store_angle(const RopeTableParams& p, uint64_t position, double frequency,
                                   float* cosine, float* sine) {
  double s, c;
  sincos(static_cast<double>(position) * p.position_scale * frequency, &s, &c);
  *cosine = static_cast<float>(c);
  *sine = static_cast<float>(s);
}

}  // namespace decant

#endif  // DECANT_OPS_ROPE_TABLE_ROPE_TABLE_CUH_
