// Which NVIDIA GPUs this machine has.
#ifndef DECANT_CUDA_DEVICES_H_
#define DECANT_CUDA_DEVICES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "decant/core/device.h"
#include "decant/cuda/driver.h"

namespace decant::cuda {

struct Listing {
  std::vector<DeviceInfo> devices;  // by ordinal
  std::string problem;              // why there are none, or why they cannot be used; else empty
};
// Never throws for a driver or compiler that is missing or broken. `options.ordinal` is ignored.
Listing list_devices(const CudaOptions& options = {});

// Throws DeviceNotFound if there is no such device.
DeviceInfo device_info(const Driver& driver, uint32_t ordinal);
int compute_capability(const Driver& driver, DeviceNumber device);  // 90 for 9.0

}  // namespace decant::cuda

#endif  // DECANT_CUDA_DEVICES_H_
