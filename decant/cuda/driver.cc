#include "decant/cuda/driver.h"

#include "decant/cuda/shared_library.h"

namespace decant::cuda {

std::shared_ptr<const Driver> Driver::load(const std::string& path) {
  const std::string file = path.empty() ? "libcuda.so.1" : path;
  std::string problem;
  const SharedLibrary library = SharedLibrary::open(file, problem);
  if (!library)
    fail(ErrorKind::kDeviceNotFound, "cuda: no NVIDIA driver: {}; install one, or run on the CPU",
         problem);
  auto driver = std::make_shared<Driver>();
  const auto find = [&](auto& function, const char* symbol) { library.find(function, symbol); };
  find(driver->driver_version, "cuDriverGetVersion");
  if (driver->driver_version) driver->driver_version(&driver->version);
  if (driver->version < kMinDriverVersion)
    fail(ErrorKind::kDeviceNotFound,
         "cuda: the NVIDIA driver is too old: {} supports CUDA {}, needed is {}", file,
         version_text(driver->version), version_text(kMinDriverVersion));
#define DECANT_FIND(member, symbol, parameters)                                                   \
  find(driver->member, #symbol);                                                                  \
  if (!driver->member)                                                                            \
    fail(ErrorKind::kDeviceNotFound, "cuda: the NVIDIA driver {} (CUDA {}) lacks " #symbol, file, \
         version_text(driver->version));
  DECANT_CUDA_DRIVER_FUNCTIONS(DECANT_FIND)
#undef DECANT_FIND
#define DECANT_FIND(member, symbol, parameters) find(driver->member, #symbol);
  DECANT_CUDA_OPTIONAL_DRIVER_FUNCTIONS(DECANT_FIND)
#undef DECANT_FIND
  driver->check(driver->init(0), ErrorKind::kDeviceNotFound, "cuInit");
  return driver;
}

std::string Driver::describe(Result result) const {
  const char *name = nullptr, *text = nullptr;
  if (error_name(result, &name) != kSuccess || !name) name = "unknown";
  if (error_string(result, &text) != kSuccess || !text) text = "unknown error";
  return fmt::format("{} ({}, {})", text, name, result);
}

std::string version_text(int version) {
  return version ? fmt::format("{}.{}", version / 1000, version % 1000 / 10) : "of no version";
}

}  // namespace decant::cuda
