// A Device gives Buffers and owns the kernel registry; a backend implements the Backend interface.
#ifndef DECANT_CORE_DEVICE_H_
#define DECANT_CORE_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/core/buffer.h"
#include "decant/core/command_list.h"
#include "decant/core/dtype.h"
#include "decant/core/kernel_registry.h"

namespace decant {

enum class BackendKind : uint8_t { kCpu, kCuda, kMetal };
std::string_view to_string(BackendKind kind);  // "cpu", "cuda", "metal"

struct DeviceInfo {
  BackendKind backend = BackendKind::kCpu;
  std::string name;  // as its vendor calls it
  std::string
      capability;  // "avx3_dl", "sm_90", "apple9": the best instruction set that will be used
  uint64_t memory_bytes = 0;
  uint32_t compute_units = 0;  // threads, SMs, GPU cores
  // Commands run behind the host, which gains by starting more before the first are done. Where
  // not, submitting runs them.
  bool asynchronous = false;
};

// State of one commit, or of several launches of one Executable. Owned by the caller so that
// submitting allocates nothing.
struct Completion {
  std::exception_ptr error;
  uint64_t ticket = 0;                    // the backend's own; 0: nothing to wait for
  const CommandList* commands = nullptr;  // the backend's own, for messages; outlives the wait
};

// A command list prepared for many launches.
class Executable {
 public:
  virtual ~Executable() = default;
  // Starts a run after whatever was started before. With a completion that was not waited for, the
  // wait covers both; nothing is started if the completion holds an error.
  virtual void launch(Completion& completion) = 0;
};

// What a backend implements. It knows no op.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual const DeviceInfo& info() const = 0;
  // Zeroed memory, aligned to at least 64 bytes. Throws AllocationFailed naming the size.
  virtual std::shared_ptr<Storage> allocate(size_t bytes) = 0;
  // The same for Usage::kHostVisible: host() is not null, and host and device see each other's
  // stores while commands run. For backends whose every allocation is so, the same.
  virtual std::shared_ptr<Storage> allocate_host_visible(size_t bytes) { return allocate(bytes); }
  // Memory that exists already, a file mapping say, usable by the device as read-only; may copy.
  // `owner` is kept as long as it is used.
  virtual std::shared_ptr<Storage> wrap(std::span<const std::byte> memory,
                                        std::shared_ptr<const void> owner) = 0;
  virtual void write(const Buffer& to, std::span<const std::byte> from) = 0;
  virtual void read(const Buffer& from, std::span<std::byte> to) = 0;
  // Clears `to` before any command that is submitted later; need not wait.
  virtual void zero(const Buffer& to);
  // Whether the backend has code for this kernel.
  virtual bool has(Kernel kernel) const = 0;
  // Starts the commands; failures are kept in `completion` until wait.
  virtual void submit(const CommandList& list, Completion& completion) = 0;
  // Returns when the commands are done; throws what they failed with.
  virtual void wait(Completion& completion) = 0;
  // Whether wait() would return, or throw, at once.
  virtual bool done(const Completion&) { return true; }
  virtual std::unique_ptr<Executable> prepare(CommandList list) = 0;
};

struct CpuOptions {
  uint32_t threads = 0;  // 0: one per physical core
};

struct CudaOptions {
  uint32_t ordinal = 0;     // as the driver counts GPUs
  std::string driver{};     // library file; empty: libcuda.so.1
  std::string nvrtc{};      // library file of the run-time compiler; empty: see decant/cuda/nvrtc.h
  std::string cache_dir{};  // for compiled kernels; empty: "cuda" in cache_dir()
  bool host_visible = false;  // all memory is the host's, seen by the device: slow, for tests
};

// A counted handle; copies name the same device.
class Device {
 public:
  // The CPU of this machine. Always available.
  static Device cpu(const CpuOptions& options = {});
  // An NVIDIA GPU. Throws DeviceNotFound saying what is missing and what to do; see also
  // decant/cuda/devices.h, which lists them.
  static Device cuda(const CudaOptions& options = {});
  // The Apple GPU of this machine. Throws DeviceNotFound, saying why, where there is none.
  static Device metal();

  explicit Device(std::unique_ptr<Backend> backend);

  const DeviceInfo& info() const { return state_->backend->info(); }
  const std::string& name() const { return info().name; }
  KernelRegistry& registry() const { return state_->registry; }
  Backend& backend() const { return *state_->backend; }
  const void* id() const { return state_->backend.get(); }
  bool operator==(const Device& other) const { return state_ == other.state_; }

  // A zeroed buffer. Throws AllocationFailed.
  Buffer buffer(DType dtype, const Shape& shape, Usage usage = Usage::kNormal) const;
  // A read-only buffer over memory that exists already.
  Buffer wrap(std::span<const std::byte> memory, DType dtype, const Shape& shape,
              std::shared_ptr<const void> owner) const;

  // A new buffer with the values' content. Waits for nothing.
  template <typename T>
  Buffer upload(std::span<const T> values, DType dtype, const Shape& shape) const {
    Buffer made = buffer(dtype, shape);
    write(made, std::as_bytes(values));
    return made;
  }
  // Copies between host and device; sizes must match exactly. Only valid between commits.
  void write(const Buffer& to, std::span<const std::byte> from) const;
  void read(const Buffer& from, std::span<std::byte> to) const;
  // Clears a buffer.
  void zero(const Buffer& to) const;

 private:
  struct State {
    // The registry goes last: executables refer to its kernels.
    KernelRegistry registry;
    std::unique_ptr<Backend> backend;
  };
  std::shared_ptr<State> state_;
};

// An op registers its kernels when it is first used. One of these at namespace scope in its source
// file lets register_all_kernels() do it before, for whoever wants to see every kernel there is.
struct KernelListing {
  explicit KernelListing(void (*register_on)(const Device& device));
};

// Registers the kernels of every op whose object file was linked. (From a static library, a program
// has only those that it uses.)
void register_all_kernels(const Device& device);

}  // namespace decant

#endif  // DECANT_CORE_DEVICE_H_
