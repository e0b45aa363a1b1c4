// Loaded code: each kernel's function, compiled at its first use.
#ifndef DECANT_CUDA_MODULES_H_
#define DECANT_CUDA_MODULES_H_

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "decant/core/command_list.h"
#include "decant/cuda/compiler.h"
#include "decant/cuda/context.h"

namespace decant::cuda {

struct Function {
  FunctionHandle handle = nullptr;
  std::vector<size_t> parameter_bytes;  // empty if the driver does not tell
  // Raised on demand; guarded by Modules' mutex.
  uint32_t shared_limit = 48 << 10;
  bool large_clusters = false;
};

// May be used from any thread.
class Modules {
 public:
  Modules(std::shared_ptr<Context> context, Compiler compiler)
      : context_(std::move(context)), compiler_(std::move(compiler)) {}
  ~Modules();
  Modules(const Modules&) = delete;
  Modules& operator=(const Modules&) = delete;

  // The function, ready for `launch`. Throws CompilationFailed, or CommandFailed if the launch
  // asks for more shared memory than there is.
  const Function& resolve(Kernel kernel, const Launch& launch);

 private:
  struct Module {
    ModuleHandle handle = nullptr;
    std::map<std::string, Function> functions;  // by entry
  };
  struct Resolved {
    GpuKernel kernel;  // a copy: another definition may come to lie at the same address
    Function* function;
  };
  Function& function_of(const KernelDef& kernel);
  Module& module_of(const KernelDef& kernel);

  std::shared_ptr<Context> context_;
  Compiler compiler_;
  std::mutex mutex_;
  std::map<std::string, Module> modules_;  // by source and constants
  std::unordered_map<Kernel, Resolved> resolved_;
};

}  // namespace decant::cuda

#endif  // DECANT_CUDA_MODULES_H_
