// The CUDA backend: device memory, kernels compiled at first use, one stream, CUDA graphs.
#ifndef DECANT_CUDA_CUDA_BACKEND_H_
#define DECANT_CUDA_CUDA_BACKEND_H_

#include <memory>

#include "decant/core/device.h"
#include "decant/cuda/context.h"
#include "decant/cuda/modules.h"

namespace decant::cuda {

// How a dispatch becomes a launch: each Buffer argument is a pointer parameter of the kernel, each
// Bytes argument a struct by value. Slot 0, and any other made by params_arg, is two parameters:
// the struct by value and a pointer to one in memory, which the kernel takes instead unless it is
// null.
class CudaBackend final : public Backend {
 public:
  // Throws DeviceNotFound.
  explicit CudaBackend(const CudaOptions& options);

  const DeviceInfo& info() const override { return info_; }
  std::shared_ptr<Storage> allocate(size_t bytes) override;
  std::shared_ptr<Storage> allocate_host_visible(size_t bytes) override;
  // Copies the memory to the device; the owner is let go.
  std::shared_ptr<Storage> wrap(std::span<const std::byte> memory,
                                std::shared_ptr<const void> owner) override;
  void write(const Buffer& to, std::span<const std::byte> from) override;
  void read(const Buffer& from, std::span<std::byte> to) override;
  void zero(const Buffer& to) override;
  bool has(Kernel kernel) const override { return !kernel->cuda.source.empty(); }

  // Dispatches run one after another in the stream's order, so that barriers need no command.
  void submit(const CommandList& list, Completion& completion) override;
  void wait(Completion& completion) override;
  bool done(const Completion& completion) override;
  // A CUDA graph of the launches; those that ask for it begin before their predecessor ends.
  std::unique_ptr<Executable> prepare(CommandList list) override;

 private:
  class CudaExecutable;

  // Launches every dispatch on `stream`. Throws CommandFailed naming the kernel.
  void launch_all(const CommandList& list, StreamHandle stream);
  // Marks the stream's end with the completion's event.
  void record(Completion& completion, const CommandList& list);
  // Throws CommandFailed for commands that failed after they were launched.
  [[noreturn]] void lost(const CommandList& list, Result result) const;

  DeviceInfo info_;
  bool host_visible_;
  std::shared_ptr<Context> context_;
  std::unique_ptr<Modules> modules_;
};

}  // namespace decant::cuda

#endif  // DECANT_CUDA_CUDA_BACKEND_H_
