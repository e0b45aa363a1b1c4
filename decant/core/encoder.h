// Records dispatches, puts barriers exactly where they are needed, and submits.
#ifndef DECANT_CORE_ENCODER_H_
#define DECANT_CORE_ENCODER_H_

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <type_traits>

#include "decant/core/buffer_pool.h"
#include "decant/core/command_list.h"
#include "decant/core/device.h"

namespace decant {

// One argument of a dispatch, by position = slot. Refers to the caller's object until dispatch
// returns.
struct KernelArg {
  const Buffer* buffer = nullptr;
  const void* bytes = nullptr;
  uint32_t bytes_len = 0;
  Access access = Access::kRead;
  bool either = false;  // made by params_arg
};

inline KernelArg reads(const Buffer& buffer) {
  return {.buffer = &buffer, .access = Access::kRead};
}
// The kernel writes every byte of the range.
inline KernelArg writes(const Buffer& buffer) {
  return {.buffer = &buffer, .access = Access::kWrite};
}
inline KernelArg reads_writes(const Buffer& buffer) {
  return {.buffer = &buffer, .access = Access::kReadWrite};
}
template <typename T>
KernelArg bytes(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  static_assert(alignof(T) <= 16, "Bytes are kept at multiples of 16");
  return {.bytes = &value, .bytes_len = sizeof(T)};
}
// An argument in either of two forms, as slot 0 of an op always is: a value as Bytes or, if the
// caller gave one, a Buffer that a kernel may rewrite between replays.
template <typename T>
KernelArg params_arg(const T& value, const Buffer& buffer) {
  KernelArg arg = buffer ? reads(buffer) : bytes(value);
  arg.either = true;
  return arg;
}

// Not thread-safe; use one per thread. After wait() it is empty and can be used again; its memory
// stays, so the steady state allocates nothing.
class CommandEncoder {
 public:
  explicit CommandEncoder(Device device) : device_(std::move(device)) {}
  // Waits for committed commands; recorded ones that were never committed are dropped.
  ~CommandEncoder();
  CommandEncoder(const CommandEncoder&) = delete;
  CommandEncoder& operator=(const CommandEncoder&) = delete;

  const Device& device() const { return device_; }

  // Throws InvalidArgument (empty grid, a buffer of another device, a write to read-only memory) or
  // KernelNotFound (the kernel has no code for this device); nothing is recorded then.
  void dispatch(Kernel kernel, std::initializer_list<KernelArg> args, const Launch& launch);
  void dispatch(Kernel kernel, std::span<const KernelArg> args, const Launch& launch);

  // Forces a barrier before the next dispatch.
  void memory_barrier();
  // Overrides the kind that the next dispatch takes from its kernel.
  void set_op_kind(OpKind kind) { next_kind_ = kind; }

  // A zeroed scratch buffer for one dispatch or between a few. It comes from this encoder's pool
  // and returns there when the commands that use it are done, so the steady state allocates
  // nothing.
  Buffer scratch(DType dtype, const Shape& shape);
  // Scratch for a dispatch that finds it zeroed and leaves it zeroed: all of this encoder's share
  // it, so that it stays in the caches and is cleared once. At least `bytes`.
  Buffer zeroed_scratch(size_t bytes);

  // Starts what was recorded. Throws InvalidArgument while a graph is being captured.
  void commit();
  // Waits for the commit; throws CommandFailed naming the kernel if one failed.
  void wait();
  void commit_and_wait() {
    commit();
    wait();
  }

  const CommandList& commands() const { return list_; }

 private:
  friend class Graph;

  Device device_;
  CommandList list_;
  RangeTracker tracker_;
  std::optional<BufferPool> pool_;  // made when first needed
  Buffer zeroed_;                   // as zeroed_scratch() lends it
  std::optional<OpKind> next_kind_;
  bool force_barrier_ = false;
  bool capturing_ = false;
  bool committed_ = false;
  Completion completion_;
};

}  // namespace decant

#endif  // DECANT_CORE_ENCODER_H_
