// A GPU's context, its one stream, and memory in it. Memory may outlive the Device it came from.
#ifndef DECANT_CUDA_CONTEXT_H_
#define DECANT_CUDA_CONTEXT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "decant/core/buffer.h"
#include "decant/cuda/driver.h"

namespace decant::cuda {

// All methods may be called from any thread. Everything runs on one stream, in order.
class Context {
 public:
  // Throws DeviceNotFound.
  Context(std::shared_ptr<const Driver> driver, DeviceNumber device);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  // Makes the context the thread's own while it lives.
  class Current {
   public:
    explicit Current(const Context& context);
    ~Current();
    Current(const Current&) = delete;
    Current& operator=(const Current&) = delete;

   private:
    const Driver& driver_;
    bool pushed_;
  };

  const Driver& driver() const { return *driver_; }
  StreamHandle stream() const { return stream_; }
  // Throws CommandFailed "<what>: ..." unless the result is kSuccess.
  void check(Result result, const char* what) const {
    driver_->check(result, ErrorKind::kCommandFailed, what);
  }

  // Copies; they come after all work before and are done when they return.
  void write(DevicePtr to, std::span<const std::byte> from);
  void read(DevicePtr from, std::span<std::byte> to);
  // After all work before, before all work after.
  void zero(DevicePtr to, size_t bytes);

  // Events by number, from 1 on; recorded at the stream's end. Returned ones are used again.
  uint64_t acquire_event();
  void release_event(uint64_t event);
  EventHandle event(uint64_t event) const;

 private:
  static constexpr size_t kStagingBytes = 64 << 10;

  std::shared_ptr<const Driver> driver_;
  DeviceNumber device_;
  ContextHandle context_ = nullptr;
  StreamHandle stream_ = nullptr;
  std::mutex staging_mutex_;
  void* staging_ = nullptr;  // pinned: the driver copies small pieces from there without a detour
  mutable std::mutex events_mutex_;
  std::vector<EventHandle> events_;
  std::vector<uint64_t> free_events_;
};

// Device memory, or host memory that the device can address.
class CudaStorage final : public Storage {
 public:
  // Zeroed. Throws AllocationFailed naming the size and what is free.
  static std::shared_ptr<CudaStorage> make(std::shared_ptr<Context> context, size_t bytes,
                                           bool host_visible, const void* device);
  ~CudaStorage() override;
  DevicePtr address() const { return address_; }

 private:
  CudaStorage(std::shared_ptr<Context> context, std::byte* host, DevicePtr address, size_t bytes,
              const void* device)
      : Storage(host, bytes, device), context_(std::move(context)), address_(address) {}

  std::shared_ptr<Context> context_;
  DevicePtr address_;
};

inline DevicePtr address_of(const Buffer& buffer) {
  return static_cast<const CudaStorage&>(*buffer.storage()).address() + buffer.byte_offset();
}

}  // namespace decant::cuda

#endif  // DECANT_CUDA_CONTEXT_H_
