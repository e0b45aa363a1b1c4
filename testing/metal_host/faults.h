// Signals of running kernels become values.
#ifndef DECANT_TESTING_METAL_HOST_FAULTS_H_
#define DECANT_TESTING_METAL_HOST_FAULTS_H_

#include <optional>

namespace decant::metal_host {

struct Fault {
  int signal;
  const void* address;  // that was touched
  const void* code;     // the instruction
  bool write;
};

// Calls `body`, which may run on other stacks. A fault of this thread meanwhile ends it at once: no
// destructor runs on the stacks that are left. Faults of other threads go where they went before.
std::optional<Fault> catch_faults(void (*body)(void*), void* argument);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_FAULTS_H_
