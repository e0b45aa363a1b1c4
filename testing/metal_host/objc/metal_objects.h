// Metal's classes as far as compute needs them. Command buffers run when somebody waits for them
// or asks for their status, not before: memory that the host releases or reads too early is then
// already gone or not yet written, every time.
#ifndef DECANT_TESTING_METAL_HOST_OBJC_METAL_OBJECTS_H_
#define DECANT_TESTING_METAL_HOST_OBJC_METAL_OBJECTS_H_

#include <array>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "testing/metal_host/library.h"
#include "testing/metal_host/objc/blocks.h"
#include "testing/metal_host/objc/foundation.h"
#include "testing/metal_host/objc/object.h"

namespace decant::metal_host::objc {

struct Size {
  UInteger width, height, depth;
};

// With a label, as buffers, queues and encoders are.
class Labelled : public Object {
 public:
  using Object::Object;
  std::string describe() const override {
    return label.empty() ? class_name() : std::string(class_name()) + " '" + label + "'";
  }
  virtual void set_label(std::string text) { label = std::move(text); }
  std::string label;
};
const Methods& labelled_methods();

class Device final : public Object {
 public:
  Device() : Object("MTLDevice") {}
  const Methods& methods() const override;
  static Device* instance();
  void release() override {}
};

class Buffer final : public Labelled {
 public:
  explicit Buffer(std::unique_ptr<Memory> content)
      : Labelled("MTLBuffer"), memory(std::move(content)) {}
  const Methods& methods() const override;
  void set_label(std::string text) override;
  std::unique_ptr<Memory> memory;

 protected:
  void dispose() override { memory.reset(); }
};

class CompileOptionsObject final : public Object {
 public:
  CompileOptionsObject() : Object("MTLCompileOptions") {}
  const Methods& methods() const override;
};

class LibraryObject final : public Labelled {
 public:
  explicit LibraryObject(Library compiled) : Labelled("MTLLibrary"), library(std::move(compiled)) {}
  const Methods& methods() const override;
  Library library;
};

class ConstantValues final : public Object {
 public:
  ConstantValues() : Object("MTLFunctionConstantValues") {}
  const Methods& methods() const override;
  // The type that Metal's enumerator stands for, as the shim names it; "" if unknown.
  static std::string type_name(UInteger data_type);
  Constants values;
  std::map<uint32_t, std::string> types_by_index;
  std::map<std::string, std::string> types_by_name;
};

class Function final : public Labelled {
 public:
  explicit Function(Kernel code) : Labelled("MTLFunction"), kernel(std::move(code)) {}
  const Methods& methods() const override;
  Kernel kernel;
};

class Pipeline final : public Labelled {
 public:
  explicit Pipeline(Kernel code) : Labelled("MTLComputePipelineState"), kernel(std::move(code)) {}
  const Methods& methods() const override;
  Kernel kernel;
};

class ResidencyDescriptor final : public Labelled {
 public:
  ResidencyDescriptor() : Labelled("MTLResidencySetDescriptor") {}
  const Methods& methods() const override;
};
class ResidencySet final : public Labelled {
 public:
  ResidencySet() : Labelled("MTLResidencySet") {}
  const Methods& methods() const override;
  void set_committed() {
    total_committed += static_cast<long>(allocations.size()) - committed_;
    committed_ = static_cast<long>(allocations.size());
  }
  std::vector<Ref<Object>> allocations;
  static std::atomic<long> total_committed;  // of all sets

 protected:
  void dispose() override {
    allocations.clear();
    set_committed();
  }

 private:
  long committed_ = 0;
};

class CommandBuffer;

class Queue final : public Labelled {
 public:
  Queue() : Labelled("MTLCommandQueue") {}
  const Methods& methods() const override;
  // Runs what was committed, up to and including `last`.
  void run_until(const CommandBuffer* last);
  void add(CommandBuffer* buffer);
  std::vector<Ref<Object>> residency_sets;

 protected:
  void dispose() override { residency_sets.clear(); }

 private:
  std::mutex mutex_;
  std::deque<Ref<CommandBuffer>> committed_;
};

// One dispatch as encoded. Buffers are retained here, unless the command buffer does without.
struct EncodedArgument {
  Buffer* buffer = nullptr;
  Ref<Buffer> retained;
  size_t offset = 0;
  std::vector<std::byte> bytes;
};
struct EncodedDispatch {
  Ref<Pipeline> pipeline;
  std::vector<EncodedArgument> arguments;
  std::vector<size_t> threadgroup_bytes;
  Size3 groups, threads;
  bool barrier_before = false;
};

class Encoder final : public Labelled {
 public:
  Encoder(CommandBuffer* buffer, bool concurrent)
      : Labelled("MTLComputeCommandEncoder"), command_buffer(buffer), is_concurrent(concurrent) {}
  const Methods& methods() const override;

  void set_buffer(Buffer* buffer, size_t offset, UInteger index);
  void set_bytes(const void* bytes, size_t length, UInteger index);
  void set_offset(size_t offset, UInteger index);
  void set_threadgroup_bytes(size_t length, UInteger index);
  void dispatch(const Size& groups, const Size& threads);
  void end();

  CommandBuffer* command_buffer;
  bool is_concurrent;
  bool ended = false;
  bool barrier = true;  // before the next dispatch
  Ref<Pipeline> pipeline;

 protected:
  void dispose() override;

 private:
  void check_open(const char* call) const;
  EncodedArgument& argument(UInteger index, const char* call);
  std::vector<EncodedArgument> arguments_;
  std::vector<size_t> threadgroup_bytes_;
};

class CommandBuffer final : public Labelled {
 public:
  enum Status : UInteger { kNotEnqueued, kEnqueued, kCommitted, kScheduled, kCompleted, kError };
  CommandBuffer(Queue* owner, bool retained)
      : Labelled("MTLCommandBuffer"), queue(owner), retains(retained) {}
  const Methods& methods() const override;

  Encoder* encoder(bool concurrent);
  void commit();
  void wait();
  UInteger current_status();
  void run();  // by the queue

  Ref<Queue> queue;
  bool retains;
  UInteger status = kNotEnqueued;
  Encoder* open_encoder = nullptr;
  std::vector<EncodedDispatch> dispatches;
  Ref<Error> error;
  std::vector<std::unique_ptr<Handler>> scheduled_handlers, completed_handlers;

 protected:
  void dispose() override;

 private:
  // What a dispatch may write, and what was in it.
  struct Written {
    const Memory* memory;
    const EncodedDispatch* dispatch;
    uint32_t index;
    std::vector<std::byte> before, first;
  };
  void run_interval(size_t begin, size_t end, uint64_t seed);
  void run_once(size_t begin, size_t end, uint64_t thread_seed, uint64_t order_seed);
  std::vector<Written> written_by(size_t begin, size_t end) const;
};

}  // namespace decant::metal_host::objc

#endif  // DECANT_TESTING_METAL_HOST_OBJC_METAL_OBJECTS_H_
