#include "testing/devices.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "decant/core/error.h"
#include "testing/simd_targets.h"
#if DECANT_TEST_METAL
#include "decant/metal/metal_backend.h"
#endif

namespace decant::testing {
namespace {

// Made once: a context takes a good part of a second.
const std::optional<Device>& gpu() {
  static const std::optional<Device> device = []() -> std::optional<Device> {
    try {
      CudaOptions options;
      options.host_visible = true;
      return Device::cuda(options);
    } catch (const Error& e) {
      fmt::print(stderr, "SKIPPED: {}\n", e.what());
      return std::nullopt;
    }
  }();
  return device;
}

Device metal_device() {
#if DECANT_TEST_METAL
  return Device(metal::make_backend());
#else
  throw std::runtime_error("DECANT_TEST_DEVICE=metal: these tests were built without Metal");
#endif
}

}  // namespace

bool on_metal() {
  static const bool on = [] {
    const char* name = std::getenv("DECANT_TEST_DEVICE");
    if (!name || std::string_view(name) == "cpu") return false;
    if (std::string_view(name) == "metal") return true;
    throw std::runtime_error(fmt::format("DECANT_TEST_DEVICE={}: expected cpu or metal", name));
  }();
  return on;
}

Device test_device(const CpuOptions& cpu) { return on_metal() ? metal_device() : Device::cpu(cpu); }

void for_each_device(const std::function<void(const Device& device)>& body) {
  if (on_metal()) {
    static const Device metal = metal_device();  // which keeps what it compiled
    return body(metal);
  }
  const Device cpu = Device::cpu({.threads = 3});
  for_each_simd_target([&](const std::string&) { body(cpu); });
  if (!gpu()) return;
  SCOPED_TRACE(gpu()->name());
  try {
    body(*gpu());
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kKernelNotFound) throw;
    fmt::print(stderr, "SKIPPED: {}\n", e.what());
  }
}

}  // namespace decant::testing
