// The devices that an op's tests run on.
#ifndef DECANT_TESTING_DEVICES_H_
#define DECANT_TESTING_DEVICES_H_

#include <functional>

#include "decant/core/device.h"

namespace decant::testing {

// Calls `body` with the CPU, once for every SIMD target (simd_targets.h), and with the first NVIDIA
// GPU if there is one. Its buffers are memory that the host can address, so that a test reads and
// writes them as it does the CPU's. A GPU that cannot be used, and a kernel that has no code for
// it, are named on stderr.
//
// With DECANT_TEST_DEVICE=metal in the environment, calls it once, with the Metal device: Apple's
// GPU on macOS, elsewhere the host executor under the very same backend. Nothing is skipped then.
void for_each_device(const std::function<void(const Device& device)>& body);

bool on_metal();
// The Metal device if that is what the tests run on, else the CPU.
Device test_device(const CpuOptions& cpu = {});

// What a result may be off: GPUs sum in f32 in another order, and their elementary functions are
// less exact.
inline double bound(double cpu, double gpu) { return on_metal() ? gpu : cpu; }

}  // namespace decant::testing

#endif  // DECANT_TESTING_DEVICES_H_
