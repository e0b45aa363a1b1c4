// MTLCommandQueue and MTLCommandBuffer: when dispatches run, and in which order.
#include <algorithm>
#include <cstring>

#include "testing/metal_host/host.h"
#include "testing/metal_host/objc/metal_objects.h"
#include "testing/metal_host/random.h"

namespace decant::metal_host::objc {

void Queue::add(CommandBuffer* buffer) {
  const std::lock_guard lock(mutex_);
  committed_.emplace_back(buffer);
}

void Queue::run_until(const CommandBuffer* last) {
  const std::lock_guard lock(mutex_);
  while (!committed_.empty() && last->status != CommandBuffer::kCompleted &&
         last->status != CommandBuffer::kError) {
    committed_.front()->run();
    committed_.pop_front();
  }
}

Encoder* CommandBuffer::encoder(bool concurrent) {
  if (status >= kCommitted) invalid("{}: an encoder after commit", describe());
  if (open_encoder != nullptr) invalid("{}: a second encoder before endEncoding", describe());
  open_encoder = new Encoder(this, concurrent);
  open_encoder->autorelease();
  return open_encoder;
}

void CommandBuffer::commit() {
  if (status >= kCommitted) invalid("{}: committed twice", describe());
  if (open_encoder != nullptr) invalid("{}: commit before endEncoding", describe());
  status = kCommitted;
  queue->add(this);
}

void CommandBuffer::wait() {
  if (status < kCommitted) invalid("{}: waitUntilCompleted before commit", describe());
  queue->run_until(this);
}

UInteger CommandBuffer::current_status() {
  if (status == kCommitted) queue->run_until(this);
  return status;
}

void CommandBuffer::dispose() {
  dispatches.clear();
  queue = {};
}

// Dispatches [begin, end) have no barrier between them: they run in any order. All that a dispatch
// may write is the same, bit for bit, after each of the schedules.
void CommandBuffer::run_interval(size_t begin, size_t end, uint64_t seed) {
  const HostOptions options = host_options();
  if (options.schedules <= 1) return run_once(begin, end, options.seed, seed);
  std::vector<Written> written = written_by(begin, end);
  for (uint32_t i = 0; i < options.schedules; ++i) {
    if (i != 0)
      for (const Written& w : written)
        std::memcpy(w.memory->data(), w.before.data(), w.before.size());
    run_once(begin, end, options.seed + i, seed + i);
    for (Written& w : written) {
      const std::span content(w.memory->data(), w.memory->bytes());
      if (i == 0) w.first.assign(content.begin(), content.end());
      const auto [got, want] = std::ranges::mismatch(content, w.first);
      if (got == content.end()) continue;
      fail(FailureKind::kRace,
           "the results depend on the schedule: byte {} of argument {} of {} ({}) is {:#04x} under "
           "seed {} and {:#04x} under seed {}; checked code names the lines",
           got - content.begin(), w.index, w.dispatch->pipeline->kernel.name(), w.memory->label(),
           static_cast<unsigned>(*want), options.seed, static_cast<unsigned>(*got),
           options.seed + i);
    }
  }
}

std::vector<CommandBuffer::Written> CommandBuffer::written_by(size_t begin, size_t end) const {
  std::vector<Written> written;
  for (size_t i = begin; i < end; ++i)
    for (const abi::Param& param : dispatches[i].pipeline->kernel.params()) {
      if (param.kind != abi::ParamKind::kBuffer || !param.writable || !param.used) continue;
      const Buffer* buffer = dispatches[i].arguments[param.index].buffer;
      if (buffer == nullptr || buffer->is_released()) continue;  // run_once() refuses it
      const Memory* memory = buffer->memory.get();
      if (std::ranges::any_of(written, [&](const Written& w) { return w.memory == memory; }))
        continue;
      written.push_back({memory, &dispatches[i], param.index, {}, {}});
      written.back().before.assign(memory->data(), memory->data() + memory->bytes());
    }
  return written;
}

void CommandBuffer::run_once(size_t begin, size_t end, uint64_t thread_seed, uint64_t order_seed) {
  const HostOptions options = host_options();
  std::vector<size_t> order;
  for (size_t i = begin; i < end; ++i) order.push_back(i);
  if (thread_seed == 1) std::reverse(order.begin(), order.end());
  if (thread_seed > 1) Random(order_seed).shuffle(order);
  next_interval();
  for (const size_t i : order) {
    const EncodedDispatch& dispatch = dispatches[i];
    std::vector<Arg> args;
    for (size_t index = 0; index < dispatch.arguments.size(); ++index) {
      const EncodedArgument& from = dispatch.arguments[index];
      if (from.buffer != nullptr && from.buffer->is_released())
        fail(FailureKind::kReleased,
             "{}: argument {}: {} was released before the command buffer had completed",
             dispatch.pipeline->kernel.name(), index, from.buffer->describe());
      args.push_back(from.buffer != nullptr ? Arg::buffer(*from.buffer->memory, from.offset)
                                            : Arg::bytes(from.bytes));
    }
    run_dispatch(dispatch.pipeline->kernel.plan(args, dispatch.groups, dispatch.threads,
                                                dispatch.threadgroup_bytes),
                 {thread_seed, options.allow_returned_lanes});
  }
  next_interval();
}

void CommandBuffer::run() {
  static std::atomic<uint64_t> number = 0;
  const uint64_t seed = host_options().seed + 0x10001 * number++;
  for (const auto& handler : scheduled_handlers) handler->call(this);
  try {
    for (size_t begin = 0; begin < dispatches.size();) {
      size_t end = begin + 1;
      while (end < dispatches.size() && !dispatches[end].barrier_before) ++end;
      run_interval(begin, end, seed + begin);
      begin = end;
    }
    status = kCompleted;
  } catch (const Failure& failure) {
    error =
        Ref<Error>::adopt(new Error("MTLCommandBufferErrorDomain",
                                    std::string(to_string(failure.kind)) + ": " + failure.what()));
    status = kError;
  }
  dispatches.clear();
  for (const auto& handler : completed_handlers) handler->call(this);
  scheduled_handlers.clear();
  completed_handlers.clear();
}

const Methods& CommandBuffer::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("computeCommandEncoder",
                 [](CommandBuffer* self, SEL) { return self->encoder(false); });
    methods->add("computeCommandEncoderWithDispatchType:",
                 [](CommandBuffer* self, SEL, UInteger type) { return self->encoder(type == 1); });
    methods->add("enqueue", [](CommandBuffer* self, SEL) {
      if (self->status == kNotEnqueued) self->status = kEnqueued;
    });
    methods->add("commit", [](CommandBuffer* self, SEL) { self->commit(); });
    methods->add("waitUntilCompleted", [](CommandBuffer* self, SEL) { self->wait(); });
    methods->add("addScheduledHandler:", [](CommandBuffer* self, SEL, const void* block) {
      if (self->status >= kCommitted) invalid("addScheduledHandler after commit");
      self->scheduled_handlers.push_back(std::make_unique<Handler>(block));
    });
    methods->add("addCompletedHandler:", [](CommandBuffer* self, SEL, const void* block) {
      if (self->status >= kCommitted) invalid("addCompletedHandler after commit");
      self->completed_handlers.push_back(std::make_unique<Handler>(block));
    });
    methods->add("waitUntilScheduled", [](CommandBuffer*, SEL) {});
    methods->add("status", [](CommandBuffer* self, SEL) { return self->current_status(); });
    methods->add("error", [](CommandBuffer* self, SEL) { return self->error.get(); });
    methods->add("retainedReferences", [](CommandBuffer* self, SEL) { return self->retains; });
    methods->add("commandQueue", [](CommandBuffer* self, SEL) { return self->queue.get(); });
    for (const char* time : {"GPUStartTime", "GPUEndTime", "kernelStartTime", "kernelEndTime"})
      methods->add(time, [](CommandBuffer*, SEL) -> double { return 0; });
    return methods;
  }();
  return *table;
}

const Methods& Queue::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    const auto make = [](Queue* self, bool retained) {
      auto* buffer = new CommandBuffer(self, retained);
      buffer->autorelease();
      return buffer;
    };
    static const auto make_buffer = make;
    methods->add("commandBuffer", [](Queue* self, SEL) { return make_buffer(self, true); });
    methods->add("commandBufferWithUnretainedReferences",
                 [](Queue* self, SEL) { return make_buffer(self, false); });
    methods->add("addResidencySet:", [](Queue* self, SEL, ResidencySet* set) {
      self->residency_sets.emplace_back(set);
    });
    methods->add("removeResidencySet:", [](Queue* self, SEL, ResidencySet* set) {
      std::erase_if(self->residency_sets,
                    [&](const Ref<Object>& held) { return held.get() == set; });
    });
    return methods;
  }();
  return *table;
}

}  // namespace decant::metal_host::objc
