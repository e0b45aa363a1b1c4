// What this machine can do at best, measured through the same threads as the ops: how fast it reads
// memory and how fast it multiplies and adds.
#ifndef DECANT_TOOLS_DECANT_ROOFLINE_H_
#define DECANT_TOOLS_DECANT_ROOFLINE_H_

#include <array>
#include <cstddef>
#include <vector>

#include "decant/core/encoder.h"
#include "tools/decant/roofline_kernels.h"

namespace decant::cli {

struct Roofline {
  double bytes_per_s = 0;
  double flops_per_s = 0;  // f32, a fused multiply-add counts as two

  // The least time in which work of so many bytes and flops can be done.
  double seconds(double bytes, double flops) const;
};

// What else runs on the machine, or on its memory from other virtual machines, comes and goes
// within seconds: on one day the same two cores read 32 GB/s and, a minute later, 62. So a limit is
// worth something only beside what was measured in the same second. A run alternates: some calls of
// the op, some passes of this; and compares median with median.
class RooflineMeter {
 public:
  // `memory` is what is read, of any content; it should be as large as what the op reads between
  // two uses of the same byte.
  RooflineMeter(const Device& device, const Buffer& memory);
  void measure();        // about 0.1 s
  void measure_reads();  // the same without multiply-adds
  // Since the start; of the ways to read, the fastest. What was not measured is 0.
  Roofline median() const;
  void start();  // forgets all samples

 private:
  CommandEncoder encoder_;
  std::vector<Buffer> parts_;  // of memory, read in turn
  size_t next_part_ = 0;
  Buffer checksums_, flops_;
  std::array<std::vector<double>, cpu::kReadWays> bytes_per_s_;  // by way to read
  std::vector<double> flops_per_s_;
};

// The middle one, or one of the middle two. Reorders `samples`, of which there must be some.
double median(std::vector<double>& samples);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_ROOFLINE_H_
