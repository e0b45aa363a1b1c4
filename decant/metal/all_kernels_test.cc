// Every Metal kernel of the library compiles, and every kernel that the CPU has is there.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "decant/core/device.h"
#include "decant/core/error.h"
#include "decant/metal/metal_backend.h"

namespace decant {
namespace {

TEST(MetalKernels, AllCompile) {
  const Device device(metal::make_backend());
  register_all_kernels(device);
  std::set<std::string> sources;
  for (const std::string& name : device.registry().names()) {
    const Kernel kernel = device.registry().resolve(name);
    if (kernel->metal.source.empty()) continue;
    sources.insert(kernel->metal.source);
    CommandList list;
    list.dispatches.push_back({.kernel = kernel, .launch = {.group = {32}}});
    try {
      device.backend().prepare(list);
    } catch (const Error& e) {
      ADD_FAILURE() << e.what();
    }
  }
  EXPECT_GE(sources.size(), 17u) << "the ops' listings are missing";
}

// What Metal does without: there the planner never asks for them.
bool of_the_cpu_alone(const std::string& name) {
  return name.ends_with("_q8") || name.ends_with("_q16") ||
         name.find("_split_") != std::string::npos;
}

TEST(MetalKernels, NoneIsMissing) {
  const Device device(metal::make_backend());
  register_all_kernels(device);
  size_t both = 0;
  for (const std::string& name : device.registry().names()) {
    const Kernel kernel = device.registry().resolve(name);
    if (!kernel->cpu || of_the_cpu_alone(name)) continue;
    EXPECT_FALSE(kernel->metal.source.empty()) << name;
    ++both;
  }
  EXPECT_GE(both, 60u);
}

}  // namespace
}  // namespace decant
