// From a kernel's source to machine code of one architecture.
#ifndef DECANT_CUDA_COMPILER_H_
#define DECANT_CUDA_COMPILER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "decant/core/kernel_registry.h"
#include "decant/cuda/cubin_cache.h"
#include "decant/cuda/nvrtc.h"

namespace decant::cuda {

// May be used from any thread.
class Compiler {
 public:
  // For a device of compute capability `capability` (90 for 9.0). Throws DeviceNotFound if NVRTC
  // cannot compile for it.
  Compiler(std::shared_ptr<const Nvrtc> nvrtc, int capability, std::string cache_folder);

  // The module of all kernels of `kernel.source` with `kernel.constants`, from the cache or freshly
  // compiled. `name` stands for the kernel in messages. Throws CompilationFailed with NVRTC's log.
  std::vector<char> compile(std::string_view name, const GpuKernel& kernel) const;

  // The same without a cache, with more options; for tests.
  Nvrtc::Compiled compile_uncached(std::string_view name, const GpuKernel& kernel,
                                   std::vector<std::string> more_options) const;

  const std::string& arch() const { return arch_; }  // "sm_90"

 private:
  struct Job {
    std::string name, source;
    std::vector<std::string> options;
  };
  Job job(std::string_view name, const GpuKernel& kernel) const;

  std::shared_ptr<const Nvrtc> nvrtc_;
  std::string arch_;
  CubinCache cache_;
};

// A constant of this name asks for the features that only one architecture has ("sm_90a").
inline constexpr std::string_view kArchSpecific = "DECANT_ARCH_SPECIFIC";

}  // namespace decant::cuda

#endif  // DECANT_CUDA_COMPILER_H_
