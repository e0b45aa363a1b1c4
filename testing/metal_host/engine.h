// Runs the threads of a dispatch: one fiber a thread, switched at barriers and simd operations in
// an order that a seed decides.
#ifndef DECANT_TESTING_METAL_HOST_ENGINE_H_
#define DECANT_TESTING_METAL_HOST_ENGINE_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "testing/metal_host/shim/abi.h"

namespace decant::metal_host {

namespace abi = ::metal_host;

struct Size3 {
  uint32_t x = 1, y = 1, z = 1;
  uint64_t count() const { return uint64_t{x} * y * z; }
};

// One dispatch, its arguments resolved and checked.
struct DispatchPlan {
  const abi::Kernel* kernel = nullptr;
  const char* library_path = "";  // for symbols
  Size3 groups, threads;          // threadgroups of the grid, threads of a group
  std::array<void*, abi::kMaxBuffers> buffers{};
  std::array<size_t, abi::kMaxThreadgroupArgs> threadgroup_bytes{};
  // Sizes and alignments of the kernel's own threadgroup variables, by id.
  const std::vector<abi::ThreadgroupVariable>* variables = nullptr;
  bool checked = false;
};

struct RunOptions {
  // 0 runs threads, groups and dispatches in ascending order wherever that is possible, 1 in
  // descending order, any other value in a random order of its own.
  uint64_t seed = 2;
  // A simd operation that lanes which have returned miss is an error; with this it runs over the
  // others, as it does on Metal.
  bool allow_returned_lanes = false;
};

// Runs all threads of all groups. Throws Failure; memory is then as far as the kernel came.
// Dispatches that run between two calls of next_interval() are unordered for the race detector.
void run_dispatch(const DispatchPlan& plan, const RunOptions& options);
void next_interval();

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_ENGINE_H_
