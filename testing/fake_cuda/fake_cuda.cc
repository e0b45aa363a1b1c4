#include "testing/fake_cuda/fake_cuda.h"

#include <dlfcn.h>

#include <new>
#include <stdexcept>
#include <type_traits>

namespace decant::testing::fake_cuda {
namespace {

template <typename State>
State& state_of(const char* file, const char* symbol) {
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) throw std::runtime_error(dlerror());
  return *reinterpret_cast<State* (*)()>(dlsym(library, symbol))();
}

}  // namespace

DriverState& driver() {
  static DriverState& state = state_of<DriverState>(DECANT_FAKE_DRIVER, "fake_driver_state");
  return state;
}

NvrtcState& nvrtc() {
  static NvrtcState& state = state_of<NvrtcState>(DECANT_FAKE_NVRTC, "fake_nvrtc_state");
  return state;
}

void reset() {
  const auto renew = [](auto& state) {
    using State = std::remove_reference_t<decltype(state)>;
    state.~State();
    new (&state) State();
  };
  renew(driver());
  renew(nvrtc());
}

CudaOptions options(const std::string& cache_dir) {
  return {.driver = DECANT_FAKE_DRIVER, .nvrtc = DECANT_FAKE_NVRTC, .cache_dir = cache_dir};
}

}  // namespace decant::testing::fake_cuda
