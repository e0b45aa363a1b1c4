// The Metal backend: shared memory, kernels compiled from embedded source, concurrent encoders.
#ifndef DECANT_METAL_METAL_BACKEND_H_
#define DECANT_METAL_METAL_BACKEND_H_

#include <memory>

#include "decant/core/device.h"

namespace decant::metal {

// Throws DeviceNotFound, saying what is missing.
std::unique_ptr<Backend> make_backend();

}  // namespace decant::metal

#endif  // DECANT_METAL_METAL_BACKEND_H_
