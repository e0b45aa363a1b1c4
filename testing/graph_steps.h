// Kernels of simple integer arithmetic, with fusion rules, for tests of the graph passes.
#ifndef DECANT_TESTING_GRAPH_STEPS_H_
#define DECANT_TESTING_GRAPH_STEPS_H_

#include <cstdint>

#include "decant/core/encoder.h"

namespace decant::testing {

// Params of every step; a fused one carries those of both.
struct Step {
  uint32_t id;  // names the dispatch in a command list
  uint32_t addend;
};
struct StepPair {
  Step first, second;
};

// All over u32; inputs repeat when they are shorter than what is computed from them.
//   doubled:  out = in * 2 + addend
//   plus:     out = in + other * 3 + addend
//   total:    total += in * 7 + addend
// Rules: doubled+plus, which drops the intermediate, and total+plus, which keeps the total.
struct Steps {
  Kernel doubled, plus, total, doubled_plus, total_plus;
};
const Steps& steps(const Device& device);

// Like an op; params may come from a buffer (Step).
void doubled(CommandEncoder& encoder, Step step, const Buffer& in, const Buffer& out,
             const Buffer& params = {});
void plus(CommandEncoder& encoder, Step step, const Buffer& in, const Buffer& other,
          const Buffer& out, const Buffer& params = {});
void total(CommandEncoder& encoder, Step step, const Buffer& in, const Buffer& total);

}  // namespace decant::testing

#endif  // DECANT_TESTING_GRAPH_STEPS_H_
