// Random weights of any format with a given deviation.
#ifndef DECANT_TOOLS_DECANT_SYNTH_WEIGHTS_H_
#define DECANT_TOOLS_DECANT_SYNTH_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <ostream>

#include "decant/core/dtype.h"

namespace decant::cli {

// A function that writes `elements` weights of mean 0 and deviation `std`, the same for the same
// seed. Plain formats are normal numbers; blocks are random bits with scales that make it so, from
// half to 1.4 times the mean scale.
std::function<void(std::ostream&)> synth_weights(DType dtype, uint64_t elements, double std,
                                                 uint64_t seed);

// f32 of [low, high).
std::function<void(std::ostream&)> synth_uniform(uint64_t elements, double low, double high,
                                                 uint64_t seed);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_SYNTH_WEIGHTS_H_
