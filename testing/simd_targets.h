// Runs a CPU test once for every SIMD target that the library was compiled for.
#ifndef DECANT_TESTING_SIMD_TARGETS_H_
#define DECANT_TESTING_SIMD_TARGETS_H_

#include <functional>
#include <string>

namespace decant::testing {

// Calls `body` with each compiled target forced in turn, the best first. Targets that this machine
// lacks are named on stderr. Fails the test if a target that the machine has was not the one that
// dispatch chose, or if none ran.
void for_each_simd_target(const std::function<void(const std::string& target)>& body);

}  // namespace decant::testing

#endif  // DECANT_TESTING_SIMD_TARGETS_H_
