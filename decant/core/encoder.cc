#include "decant/core/encoder.h"

#include <exception>
#include <utility>

#include "decant/core/error.h"

namespace decant {

CommandEncoder::~CommandEncoder() {
  if (!committed_) return;
  try {
    wait();
  } catch (const std::exception&) {
    // Whoever wanted to know would have called wait().
  }
}

void CommandEncoder::dispatch(Kernel kernel, std::initializer_list<KernelArg> args,
                              const Launch& launch) {
  dispatch(kernel, std::span(args.begin(), args.size()), launch);
}

void CommandEncoder::dispatch(Kernel kernel, std::span<const KernelArg> args,
                              const Launch& launch) {
  // Settings for the next dispatch do not outlive it, even if it fails.
  const std::optional<OpKind> kind = std::exchange(next_kind_, std::nullopt);
  require(kernel != nullptr, "CommandEncoder::dispatch: kernel is null");
  require(!committed_, "{}: the encoder was committed; call wait() before recording again",
          kernel->name);
  const auto countable = [](const Dim3& d) {
    return d.x && d.y && d.z && uint64_t{d.x} * d.y <= UINT64_MAX / d.z;
  };
  require(countable(launch.grid) && countable(launch.group),
          "{}: grid and group must have 1 to 2^64-1 members, got {}x{}x{} of {}x{}x{}",
          kernel->name, launch.grid.x, launch.grid.y, launch.grid.z, launch.group.x, launch.group.y,
          launch.group.z);
  if (!device_.backend().has(kernel))
    fail(ErrorKind::kKernelNotFound, "kernel '{}' has no {} code", kernel->name,
         to_string(device_.info().backend));
  for (size_t i = 0; i < args.size(); ++i) {
    if (!args[i].buffer) {
      require(args[i].bytes != nullptr, "{}: argument {} is neither a buffer nor bytes",
              kernel->name, i);
      continue;
    }
    const Buffer& buffer = *args[i].buffer;
    require(static_cast<bool>(buffer), "{}: argument {} is an empty buffer", kernel->name, i);
    require(buffer.device() == device_.id(), "{}: argument {} belongs to another device than {}",
            kernel->name, i, device_.name());
    require(args[i].access == Access::kRead || !buffer.storage()->read_only,
            "{}: argument {} is written but its memory is read-only", kernel->name, i);
  }

  Dispatch dispatch{.kernel = kernel,
                    .kind = kind.value_or(kernel->kind),
                    .launch = launch,
                    .first_arg = static_cast<uint32_t>(list_.args.size()),
                    .num_args = static_cast<uint32_t>(args.size())};
  for (const KernelArg& arg : args) {
    RecordedArg& recorded = list_.args.emplace_back();
    recorded.access = arg.access;
    recorded.either = arg.either;
    if (arg.buffer) {
      recorded.buffer = *arg.buffer;
    } else {
      recorded.bytes_offset = list_.append_bytes(arg.bytes, arg.bytes_len);
      recorded.bytes_len = arg.bytes_len;
    }
  }
  if (force_barrier_) tracker_.reset();
  dispatch.barrier_before = tracker_.touch(list_.args_of(dispatch)) || force_barrier_;
  list_.dispatches.push_back(dispatch);
  force_barrier_ = false;
}

void CommandEncoder::memory_barrier() { force_barrier_ = !list_.dispatches.empty(); }

Buffer CommandEncoder::scratch(DType dtype, const Shape& shape) {
  if (!pool_) pool_.emplace(device_);
  return pool_->acquire(dtype, shape, Usage::kScratch);
}

Buffer CommandEncoder::zeroed_scratch(size_t bytes) {
  // A smaller one belongs to the dispatches that have it.
  if (!zeroed_ || zeroed_.byte_len() < bytes) zeroed_ = scratch(DType::kU8, {bytes});
  return zeroed_.slice(0, {bytes});
}

void CommandEncoder::commit() {
  require(!capturing_, "CommandEncoder::commit: a graph is being captured");
  require(!committed_, "CommandEncoder::commit: called twice without wait()");
  committed_ = true;
  completion_ = {};
  device_.backend().submit(list_, completion_);
}

void CommandEncoder::wait() {
  if (!committed_) return;
  // Whatever the outcome, the commands are over and their buffers are let go.
  struct Reset {
    CommandEncoder& e;
    ~Reset() {
      e.list_.clear();
      e.tracker_.reset();
      e.force_barrier_ = false;
      e.committed_ = false;
    }
  } reset{*this};
  try {
    device_.backend().wait(completion_);
  } catch (...) {
    zeroed_ = {};  // whether it was left so is unknown
    throw;
  }
}

}  // namespace decant
