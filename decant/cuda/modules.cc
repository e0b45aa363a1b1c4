#include "decant/cuda/modules.h"

#include <algorithm>

namespace decant::cuda {
namespace {

bool same(const GpuKernel& a, const GpuKernel& b) {
  return a.entry == b.entry && a.source == b.source &&
         std::equal(a.constants.begin(), a.constants.end(), b.constants.begin(), b.constants.end(),
                    [](const KernelConstant& x, const KernelConstant& y) {
                      return x.value == y.value && x.name == y.name;
                    });
}

}  // namespace

Modules::~Modules() {
  const Context::Current current(*context_);
  for (const auto& [key, module] : modules_)
    if (module.handle) context_->driver().module_unload(module.handle);
}

const Function& Modules::resolve(Kernel kernel, const Launch& launch) {
  const std::lock_guard lock(mutex_);
  Function* function = nullptr;
  if (const auto found = resolved_.find(kernel);
      found != resolved_.end() && same(found->second.kernel, kernel->cuda)) {
    function = found->second.function;
  } else {
    function = &function_of(*kernel);
    resolved_.insert_or_assign(kernel, Resolved{kernel->cuda, function});
  }
  const Driver& driver = context_->driver();
  if (launch.shared_bytes > function->shared_limit) {
    const Result result =
        driver.function_set_attribute(function->handle, FunctionAttribute::kMaxDynamicSharedBytes,
                                      static_cast<int>(launch.shared_bytes));
    if (result != kSuccess)
      fail(ErrorKind::kCommandFailed,
           "cuda: kernel '{}': {} bytes of shared memory a block are too many: {}", kernel->name,
           launch.shared_bytes, driver.describe(result));
    function->shared_limit = launch.shared_bytes;
  }
  if (launch.cluster.count() > 8 && !function->large_clusters) {
    // 16 blocks, say, are not portable to every GPU; whether they fit is told by the launch.
    driver.function_set_attribute(function->handle,
                                  FunctionAttribute::kNonPortableClusterSizeAllowed, 1);
    function->large_clusters = true;
  }
  return *function;
}

Function& Modules::function_of(const KernelDef& kernel) {
  Module& module = module_of(kernel);
  if (const auto found = module.functions.find(kernel.cuda.entry); found != module.functions.end())
    return found->second;
  const Driver& driver = context_->driver();
  Function function;
  const Result result =
      driver.module_function(&function.handle, module.handle, kernel.cuda.entry.c_str());
  if (result != kSuccess)
    fail(ErrorKind::kCompilationFailed,
         "cuda: kernel '{}': its source has no extern \"C\" __global__ function '{}': {}",
         kernel.name, kernel.cuda.entry, driver.describe(result));
  size_t offset = 0, bytes = 0;
  if (driver.function_parameter)
    for (size_t i = 0; driver.function_parameter(function.handle, i, &offset, &bytes) == kSuccess;
         ++i)
      function.parameter_bytes.push_back(bytes);
  return module.functions.emplace(kernel.cuda.entry, std::move(function)).first->second;
}

Modules::Module& Modules::module_of(const KernelDef& kernel) {
  std::string key = kernel.cuda.source;
  for (const KernelConstant& constant : kernel.cuda.constants)
    key += fmt::format("\n{}={}", constant.name, constant.value);
  if (const auto found = modules_.find(key); found != modules_.end()) return found->second;

  const std::vector<char> cubin = compiler_.compile(kernel.name, kernel.cuda);
  const Driver& driver = context_->driver();
  Module module;
  const Result result = driver.module_load(&module.handle, cubin.data());
  if (result != kSuccess)
    fail(ErrorKind::kCompilationFailed,
         "cuda: kernel '{}': the driver, which supports CUDA {}, cannot load code for {}: {}",
         kernel.name, version_text(driver.version), compiler_.arch(), driver.describe(result));
  return modules_.emplace(std::move(key), std::move(module)).first->second;
}

}  // namespace decant::cuda
