#include "decant/cuda/devices.h"

#include <array>

#include "decant/core/error.h"
#include "decant/cuda/nvrtc.h"

namespace decant::cuda {
namespace {

int device_count(const Driver& driver) {
  int count = 0;
  driver.check(driver.device_count(&count), ErrorKind::kDeviceNotFound, "cuDeviceGetCount");
  return count;
}

int attribute_of(const Driver& driver, DeviceNumber device, DeviceAttribute attribute) {
  int value = 0;
  driver.check(driver.device_attribute(&value, attribute, device), ErrorKind::kDeviceNotFound,
               "cuDeviceGetAttribute");
  return value;
}

}  // namespace

int compute_capability(const Driver& driver, DeviceNumber device) {
  return attribute_of(driver, device, DeviceAttribute::kComputeCapabilityMajor) * 10 +
         attribute_of(driver, device, DeviceAttribute::kComputeCapabilityMinor);
}

DeviceInfo device_info(const Driver& driver, uint32_t ordinal) {
  const int count = device_count(driver);
  if (count == 0) fail(ErrorKind::kDeviceNotFound, "cuda: the driver finds no GPU");
  if (ordinal >= static_cast<uint32_t>(count))
    fail(ErrorKind::kDeviceNotFound, "cuda: there is no GPU {}; the machine has {}, from 0 on",
         ordinal, count);
  DeviceNumber number = 0;
  driver.check(driver.device_get(&number, static_cast<int>(ordinal)), ErrorKind::kDeviceNotFound,
               "cuDeviceGet");
  std::array<char, 256> name{};
  size_t memory = 0;
  driver.check(driver.device_name(name.data(), static_cast<int>(name.size()) - 1, number),
               ErrorKind::kDeviceNotFound, "cuDeviceGetName");
  driver.check(driver.device_memory(&memory, number), ErrorKind::kDeviceNotFound,
               "cuDeviceTotalMem");
  return {.backend = BackendKind::kCuda,
          .name = name.data(),
          .capability = fmt::format("sm_{}", compute_capability(driver, number)),
          .memory_bytes = memory,
          .compute_units = static_cast<uint32_t>(
              attribute_of(driver, number, DeviceAttribute::kMultiprocessorCount)),
          .asynchronous = true};
}

Listing list_devices(const CudaOptions& options) {
  Listing listing;
  try {
    const std::shared_ptr<const Driver> driver = Driver::load(options.driver);
    const int count = device_count(*driver);
    if (count == 0) listing.problem = "cuda: the driver finds no GPU";
    for (int i = 0; i < count; ++i)
      listing.devices.push_back(device_info(*driver, static_cast<uint32_t>(i)));
    if (count > 0) Nvrtc::load(options.nvrtc);
  } catch (const Error& e) {
    listing.problem = e.what();
  }
  return listing;
}

}  // namespace decant::cuda
