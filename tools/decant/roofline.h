// What this machine can do at best, measured through the same threads as the ops: how fast it reads
// memory and how fast it multiplies and adds.
#ifndef DECANT_TOOLS_DECANT_ROOFLINE_H_
#define DECANT_TOOLS_DECANT_ROOFLINE_H_

#include <vector>

#include "decant/core/encoder.h"

namespace decant::cli {

struct Roofline {
  double bytes_per_s = 0;
  double flops_per_s = 0;  // f32, a fused multiply-add counts as two

  // The least time in which work of so many bytes and flops can be done.
  double seconds(double bytes, double flops) const;
};

// Best of everything measured so far. What else runs on the machine, or on its memory from other
// virtual machines, comes and goes within seconds, so a run measures again between its shapes.
class RooflineMeter {
 public:
  // `memory` is what is read, of any content; it should be as large as what the op reads between
  // two uses of the same byte.
  RooflineMeter(const Device& device, const Buffer& memory);
  void measure();  // about 0.4 s
  const Roofline& best() const { return best_; }

 private:
  CommandEncoder encoder_;
  std::vector<Buffer> parts_;  // of memory, read in turn
  Buffer checksums_, flops_;
  Roofline best_{};
};

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_ROOFLINE_H_
