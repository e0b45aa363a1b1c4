#include "decant/cuda/compiler.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/core/kernel_source.h"
#include "decant/cuda/driver.h"

namespace decant::cuda {
namespace {

// The best that NVRTC knows of the same major version: code for 8.0 runs on 8.6, none on 9.0.
int best_arch(const Nvrtc& nvrtc, int capability) {
  int best = 0;
  for (const int arch : nvrtc.archs)
    if (arch / 10 == capability / 10 && arch <= capability) best = std::max(best, arch);
  if (!best)
    fail(ErrorKind::kDeviceNotFound,
         "cuda: NVRTC {} compiles for sm_{} to sm_{}, the device is sm_{}; install the NVRTC of "
         "{} CUDA toolkit",
         version_text(nvrtc.version), nvrtc.archs.front(), nvrtc.archs.back(), capability,
         capability > nvrtc.archs.back() ? "a newer" : "an older");
  return best;
}

// "flash_attn_vec" of "decant/ops/flash_attn_vec/kernels.cu".
std::string file_name(std::string_view source, std::string_view kernel) {
  std::string name(kernel);
  if (source.find('\n') == std::string_view::npos) {
    std::string_view folder = source.substr(0, source.rfind('/'));
    name = std::string(folder.substr(folder.rfind('/') + 1));
  }
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != '-') c = '_';
  return name;
}

}  // namespace

Compiler::Compiler(std::shared_ptr<const Nvrtc> nvrtc, int capability, std::string cache_folder)
    : nvrtc_(std::move(nvrtc)),
      arch_(fmt::format("sm_{}", best_arch(*nvrtc_, capability))),
      cache_(std::move(cache_folder)) {}

Compiler::Job Compiler::job(std::string_view name, const GpuKernel& kernel) const {
  Job job{.name = std::string(name),
          .source = flatten_source("decant/cuda/prelude.cuh") + flatten_source(kernel.source),
          // A product and a sum are only fused where the source says fmaf, as in the CPU's code,
          // and what params.h calls constexpr is there for the device.
          .options = {"--std=c++20", "--fmad=false", "--device-as-default-execution-space",
                      "--generate-line-info"}};
  std::string arch = arch_;
  for (const KernelConstant& constant : kernel.constants) {
    if (constant.name == kArchSpecific && constant.value) arch += 'a';
    job.options.push_back(fmt::format("-D{}={}", constant.name, constant.value));
  }
  job.options.push_back("--gpu-architecture=" + arch);
  return job;
}

std::vector<char> Compiler::compile(std::string_view name, const GpuKernel& kernel) const {
  const Job todo = job(name, kernel);
  std::string key = fmt::format("NVRTC {}\n", nvrtc_->version);
  for (const std::string& option : todo.options) key += option + '\n';
  key += todo.source;
  const std::string file = fmt::format("{}-{}", file_name(kernel.source, name), arch_);
  if (std::optional<std::vector<char>> found = cache_.find(file, key)) return *std::move(found);
  Nvrtc::Compiled compiled = nvrtc_->compile(todo.name, todo.source, todo.options);
  cache_.store(file, key, compiled.cubin);
  return std::move(compiled.cubin);
}

Nvrtc::Compiled Compiler::compile_uncached(std::string_view name, const GpuKernel& kernel,
                                           std::vector<std::string> more_options) const {
  Job todo = job(name, kernel);
  for (std::string& option : more_options) todo.options.push_back(std::move(option));
  return nvrtc_->compile(todo.name, todo.source, todo.options);
}

}  // namespace decant::cuda
