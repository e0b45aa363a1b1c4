// The CPU backend: plain memory, a thread pool, and kernels that are C++ functions.
#ifndef DECANT_CPU_CPU_BACKEND_H_
#define DECANT_CPU_CPU_BACKEND_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decant/core/device.h"
#include "decant/cpu/thread_pool.h"

namespace decant::cpu {

// The best instruction set of this CPU that the library was compiled for: "sse4", "avx2", ...
std::string_view simd_target_name();

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions& options);

  const DeviceInfo& info() const override { return info_; }
  std::shared_ptr<Storage> allocate(size_t bytes) override;
  std::shared_ptr<Storage> wrap(std::span<const std::byte> memory,
                                std::shared_ptr<const void> owner) override;
  void write(const Buffer& to, std::span<const std::byte> from) override;
  void read(const Buffer& from, std::span<std::byte> to) override;
  bool has(Kernel kernel) const override { return kernel->cpu != nullptr; }

  // Runs the commands before it returns. All dispatches between two barriers form one parallel
  // region, so that q, k and v projections, say, cost one wake-up together.
  void submit(const CommandList& list, Completion& completion) override;
  void wait(Completion& completion) override;
  std::unique_ptr<Executable> prepare(CommandList list) override;

 private:
  ThreadPool pool_;
  DeviceInfo info_;
};

}  // namespace decant::cpu

#endif  // DECANT_CPU_CPU_BACKEND_H_
