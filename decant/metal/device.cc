#include "decant/core/device.h"

#include "decant/core/error.h"
#if DECANT_HAS_METAL
#include "decant/metal/metal_backend.h"
#endif

namespace decant {

Device Device::metal() {
#if DECANT_HAS_METAL
  return Device(metal::make_backend());
#else
  fail(ErrorKind::kDeviceNotFound,
       "metal: this build of decant has no Metal backend; it needs macOS and -DDECANT_METAL=ON");
#endif
}

}  // namespace decant
