#include "decant/metal/metal_backend.h"

#include <unistd.h>
#include <Foundation/Foundation.hpp>
#include <Metal/Metal.hpp>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <mutex>
#include <utility>

#include "decant/core/error.h"
#include "decant/metal/pipelines.h"

namespace decant::metal {
namespace {

// setBytes takes no more.
constexpr uint32_t kMaxInlineBytes = 4096;

// All memory of the device that is in use, kept resident for its queue. Before macOS 15 there are
// no residency sets, and Metal makes resident what each command buffer uses.
class Residency {
 public:
  Residency(MTL::Device& device, MTL::CommandQueue& queue) {
    const auto descriptor = NS::TransferPtr(MTL::ResidencySetDescriptor::alloc()->init());
    if (!descriptor) return;  // the class does not exist
    NS::Error* error = nullptr;
    set_ = NS::TransferPtr(device.newResidencySet(descriptor.get(), &error));
    if (set_) queue.addResidencySet(set_.get());
  }
  void add(const MTL::Buffer* buffer) {
    if (!set_) return;
    const std::lock_guard lock(mutex_);
    set_->addAllocation(buffer);
    changed_ = true;
  }
  void remove(const MTL::Buffer* buffer) {
    if (!set_) return;
    const std::lock_guard lock(mutex_);
    set_->removeAllocation(buffer);
    changed_ = true;
  }
  // Before a command buffer is committed.
  void update() {
    if (!set_) return;
    const std::lock_guard lock(mutex_);
    if (std::exchange(changed_, false)) set_->commit();
  }

 private:
  NS::SharedPtr<MTL::ResidencySet> set_;
  std::mutex mutex_;
  bool changed_ = false;
};

// A Metal buffer, and what keeps its memory if that is not its own.
class MetalMemory final : public Storage {
 public:
  MetalMemory(NS::SharedPtr<MTL::Buffer> buffer, size_t bytes, const void* device,
              std::shared_ptr<Residency> residency, std::shared_ptr<const void> owner = nullptr)
      : Storage(static_cast<std::byte*>(buffer->contents()), bytes, device),
        owner_(std::move(owner)),
        buffer_(std::move(buffer)),
        residency_(std::move(residency)) {
    residency_->add(buffer_.get());
  }
  ~MetalMemory() override { residency_->remove(buffer_.get()); }
  MTL::Buffer* buffer() const { return buffer_.get(); }

 private:
  std::shared_ptr<const void> owner_;  // before the buffer, so that it outlives it
  NS::SharedPtr<MTL::Buffer> buffer_;
  std::shared_ptr<Residency> residency_;
};

// A command list with its pipelines and buffers looked up. Its Bytes stay in the list, which must
// outlive it.
class Program {
 public:
  void build(const CommandList& list, PipelineCache& pipelines,
             NS::UInteger max_threadgroup_bytes) {
    list_ = &list;
    steps_.clear();
    for (const Dispatch& d : list.dispatches) {
      const Pipeline& pipeline = pipelines.get(d.kernel);
      // Whole multiples of 16 bytes.
      const NS::UInteger shared = (NS::UInteger{d.launch.shared_bytes} + 15) / 16 * 16;
      require(d.launch.group.count() <= pipeline.max_threads,
              "kernel '{}': {} threads a group, but at most {} fit with its registers",
              d.kernel->name, d.launch.group.count(), pipeline.max_threads);
      require(shared + pipeline.static_threadgroup_bytes <= max_threadgroup_bytes,
              "kernel '{}': {} bytes of threadgroup memory, the device has {}", d.kernel->name,
              shared + pipeline.static_threadgroup_bytes, max_threadgroup_bytes);
      steps_.push_back({&d, pipeline.state.get(), shared});
    }
  }

  void encode(MTL::Device& device, MTL::ComputeCommandEncoder& encoder) const {
    const MTL::ComputePipelineState* current = nullptr;
    for (const Step& step : steps_) {
      const Dispatch& d = *step.dispatch;
      if (d.barrier_before) encoder.memoryBarrier(MTL::BarrierScopeBuffers);
      if (std::exchange(current, step.pipeline) != step.pipeline)
        encoder.setComputePipelineState(step.pipeline);
      NS::UInteger slot = 0;
      for (const RecordedArg& arg : list_->args_of(d)) set_argument(device, encoder, arg, slot++);
      if (step.shared_bytes > 0) encoder.setThreadgroupMemoryLength(step.shared_bytes, 0);
      encoder.dispatchThreadgroups(size_of(d.launch.grid), size_of(d.launch.group));
    }
  }

  // Each kernel once, in order.
  std::vector<Kernel> kernels() const {
    std::vector<Kernel> all;
    for (const Step& step : steps_)
      if (std::find(all.begin(), all.end(), step.dispatch->kernel) == all.end())
        all.push_back(step.dispatch->kernel);
    return all;
  }

 private:
  struct Step {
    const Dispatch* dispatch;
    const MTL::ComputePipelineState* pipeline;
    NS::UInteger shared_bytes;
  };

  static MTL::Size size_of(const Dim3& d) { return MTL::Size::Make(d.x, d.y, d.z); }

  void set_argument(MTL::Device& device, MTL::ComputeCommandEncoder& encoder,
                    const RecordedArg& arg, NS::UInteger slot) const {
    if (!arg.is_bytes()) {
      const auto& memory = static_cast<const MetalMemory&>(*arg.buffer.storage());
      encoder.setBuffer(memory.buffer(), arg.buffer.byte_offset(), slot);
      return;
    }
    const std::byte* bytes = list_->bytes.data() + arg.bytes_offset;
    if (arg.bytes_len <= kMaxInlineBytes) {
      encoder.setBytes(bytes, arg.bytes_len, slot);
      return;
    }
    // The command buffer keeps it.
    const auto copy =
        NS::TransferPtr(device.newBuffer(bytes, arg.bytes_len, MTL::ResourceStorageModeShared));
    if (!copy) fail(ErrorKind::kAllocationFailed, "metal: cannot allocate {} bytes", arg.bytes_len);
    encoder.setBuffer(copy.get(), 0, slot);
  }

  const CommandList* list_ = nullptr;
  std::vector<Step> steps_;
};

class MetalBackend final : public Backend {
 public:
  explicit MetalBackend(NS::SharedPtr<MTL::Device> device)
      : device_(std::move(device)),
        queue_(NS::TransferPtr(device_->newCommandQueue())),
        pipelines_(device_) {
    if (!queue_) fail(ErrorKind::kDeviceNotFound, "metal: the device gives no command queue");
    residency_ = std::make_shared<Residency>(*device_.get(), *queue_.get());
    info_ = {.backend = BackendKind::kMetal,
             .name = device_->name()->utf8String(),
             .capability = family(),
             .memory_bytes = device_->recommendedMaxWorkingSetSize(),
             .compute_units = 0,  // Metal does not tell
             .asynchronous = true};
    max_threadgroup_bytes_ = device_->maxThreadgroupMemoryLength();
  }

  const DeviceInfo& info() const override { return info_; }

  std::shared_ptr<Storage> allocate(size_t bytes) override {
    NS::SharedPtr<MTL::Buffer> buffer;
    // Metal knows no empty buffers.
    if (bytes <= device_->maxBufferLength())
      buffer = NS::TransferPtr(
          device_->newBuffer(std::max<size_t>(bytes, 16), MTL::ResourceStorageModeShared));
    if (!buffer)
      fail(ErrorKind::kAllocationFailed, "metal: cannot allocate {} bytes (at most {} at once)",
           bytes, device_->maxBufferLength());
    std::memset(buffer->contents(), 0, bytes);
    return std::make_shared<MetalMemory>(std::move(buffer), bytes, this, residency_);
  }

  std::shared_ptr<Storage> wrap(std::span<const std::byte> memory,
                                std::shared_ptr<const void> owner) override {
    // Metal maps whole pages. What lies behind the end in the last one is nobody's business: no
    // Buffer reaches there.
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    if (!memory.empty() && reinterpret_cast<uintptr_t>(memory.data()) % page == 0) {
      auto buffer = NS::TransferPtr(device_->newBuffer(memory.data(),
                                                       (memory.size() + page - 1) / page * page,
                                                       MTL::ResourceStorageModeShared, nullptr));
      if (buffer)
        return std::make_shared<MetalMemory>(std::move(buffer), memory.size(), this, residency_,
                                             std::move(owner));
    }
    std::shared_ptr<Storage> copy = allocate(memory.size());
    if (!memory.empty()) std::memcpy(copy->host(), memory.data(), memory.size());
    return copy;
  }

  void write(const Buffer& to, std::span<const std::byte> from) override {
    if (!from.empty()) std::memcpy(to.host(), from.data(), from.size());
  }
  void read(const Buffer& from, std::span<std::byte> to) override {
    if (!to.empty()) std::memcpy(to.data(), from.host(), to.size());
  }

  bool has(Kernel kernel) const override { return !kernel->metal.source.empty(); }

  void submit(const CommandList& list, Completion& completion) override {
    try {
      thread_local Program program;  // keeps its capacity
      program.build(list, pipelines_, max_threadgroup_bytes_);
      start(program, completion);
    } catch (...) {
      completion.error = std::current_exception();
    }
  }

  void wait(Completion& completion) override {
    if (completion.error) std::rethrow_exception(std::exchange(completion.error, nullptr));
    const AutoreleaseScope scope;
    Running running;
    {
      const std::lock_guard lock(mutex_);
      const auto found = running_.find(std::exchange(completion.ticket, 0));
      if (found == running_.end()) return;
      running = std::move(found->second);
      running_.erase(found);
    }
    // All, even if one fails: what they use is given back now.
    MTL::CommandBuffer* failed = nullptr;
    for (const auto& commands : running.commands) {
      commands->waitUntilCompleted();
      if (!failed && commands->status() != MTL::CommandBufferStatusCompleted)
        failed = commands.get();
    }
    if (failed)
      fail(ErrorKind::kCommandFailed, "metal: a command buffer of {} failed: {}",
           names_of(running.kernels), text_of(failed->error()));
  }

  bool done(const Completion& completion) override {
    if (completion.error) return true;
    const std::lock_guard lock(mutex_);
    const auto found = running_.find(completion.ticket);
    return found == running_.end() ||
           std::all_of(found->second.commands.begin(), found->second.commands.end(),
                       [](const auto& commands) {
                         return commands->status() >= MTL::CommandBufferStatusCompleted;
                       });
  }

  std::unique_ptr<Executable> prepare(CommandList list) override;

 private:
  friend class MetalExecutable;

  // Committed command buffers of one Completion, until somebody has waited for them.
  struct Running {
    std::vector<NS::SharedPtr<MTL::CommandBuffer>> commands;
    std::vector<Kernel> kernels;
  };

  // "kernel 'a'", "the kernels 'a', 'b'".
  static std::string names_of(const std::vector<Kernel>& kernels) {
    std::string names;
    for (const Kernel kernel : kernels)
      names += fmt::format("{}'{}'", names.empty() ? "" : ", ", kernel->name);
    return (kernels.size() == 1 ? "kernel " : "the kernels ") + names;
  }

  std::string family() const {
    std::string best;
    for (int family = MTL::GPUFamilyApple7; family <= MTL::GPUFamilyApple10; ++family)
      if (device_->supportsFamily(static_cast<MTL::GPUFamily>(family)))
        best = fmt::format("apple{}", family - MTL::GPUFamilyApple1 + 1);
    return best;
  }

  // Encodes and commits. One concurrent encoder: only barriers order its dispatches.
  void start(const Program& program, Completion& completion) {
    const AutoreleaseScope scope;
    const auto commands = NS::RetainPtr(queue_->commandBuffer());
    if (!commands) fail(ErrorKind::kCommandFailed, "metal: the queue gives no command buffer");
    MTL::ComputeCommandEncoder* encoder =
        commands->computeCommandEncoder(MTL::DispatchTypeConcurrent);
    if (!encoder) fail(ErrorKind::kCommandFailed, "metal: the command buffer gives no encoder");
    try {
      program.encode(*device_.get(), *encoder);
    } catch (...) {
      encoder->endEncoding();  // or Metal aborts when it goes
      throw;
    }
    encoder->endEncoding();
    residency_->update();
    commands->commit();
    const std::lock_guard lock(mutex_);
    if (completion.ticket == 0) completion.ticket = ++last_ticket_;
    Running& running = running_[completion.ticket];
    running.commands.push_back(commands);
    if (running.kernels.empty()) running.kernels = program.kernels();
  }

  NS::SharedPtr<MTL::Device> device_;
  NS::SharedPtr<MTL::CommandQueue> queue_;
  std::shared_ptr<Residency> residency_;
  PipelineCache pipelines_;
  DeviceInfo info_;
  NS::UInteger max_threadgroup_bytes_ = 0;
  std::mutex mutex_;
  uint64_t last_ticket_ = 0;
  std::map<uint64_t, Running> running_;
};

// Looked up once, encoded anew for each launch: a command buffer runs once only.
class MetalExecutable final : public Executable {
 public:
  MetalExecutable(CommandList list, MetalBackend& backend)
      : list_(std::move(list)), backend_(backend) {
    program_.build(list_, backend.pipelines_, backend.max_threadgroup_bytes_);
  }
  void launch(Completion& completion) override {
    if (completion.error) return;
    try {
      backend_.start(program_, completion);
    } catch (...) {
      completion.error = std::current_exception();
    }
  }

 private:
  CommandList list_;
  Program program_;
  MetalBackend& backend_;
};

std::unique_ptr<Executable> MetalBackend::prepare(CommandList list) {
  return std::make_unique<MetalExecutable>(std::move(list), *this);
}

}  // namespace

std::unique_ptr<Backend> make_backend() {
  const AutoreleaseScope scope;
  auto device = NS::TransferPtr(MTL::CreateSystemDefaultDevice());
  if (!device) fail(ErrorKind::kDeviceNotFound, "metal: this machine has no Metal device");
  // Simdgroup reductions and 32 lanes: Apple silicon.
  if (!device->supportsFamily(MTL::GPUFamilyApple7))
    fail(ErrorKind::kDeviceNotFound, "metal: '{}' is older than Apple silicon (GPU family Apple 7)",
         device->name()->utf8String());
  return std::make_unique<MetalBackend>(std::move(device));
}

}  // namespace decant::metal
