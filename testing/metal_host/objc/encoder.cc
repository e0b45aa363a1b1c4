// MTLComputeCommandEncoder: remembers what a dispatch will need.
#include <fmt/format.h>

#include <algorithm>

#include "testing/metal_host/objc/metal_objects.h"

namespace decant::metal_host::objc {
namespace {

Size3 narrow(const Size& size, const char* what) {
  for (const UInteger extent : {size.width, size.height, size.depth})
    if (extent == 0 || extent > 0xFFFFFFFFu)
      invalid("dispatch: {} are {} x {} x {}", what, size.width, size.height, size.depth);
  return {static_cast<uint32_t>(size.width), static_cast<uint32_t>(size.height),
          static_cast<uint32_t>(size.depth)};
}

}  // namespace

void Encoder::check_open(const char* call) const {
  if (ended) invalid("{}: {} after endEncoding", describe(), call);
}

EncodedArgument& Encoder::argument(UInteger index, const char* call) {
  check_open(call);
  if (index >= abi::kMaxBuffers)
    invalid("{}: index {}, the last is {}", call, index, abi::kMaxBuffers - 1);
  if (arguments_.size() <= index) arguments_.resize(index + 1);
  return arguments_[index];
}

void Encoder::set_buffer(Buffer* buffer, size_t offset, UInteger index) {
  EncodedArgument& to = argument(index, "setBuffer");
  if (buffer != nullptr && buffer->is_released())
    fail(FailureKind::kReleased, "setBuffer at index {}: {} was released", index,
         buffer->describe());
  if (buffer != nullptr && offset >= buffer->memory->bytes())
    invalid("setBuffer at index {}: offset {} of {} with {} bytes", index, offset,
            buffer->describe(), buffer->memory->bytes());
  to = {buffer, command_buffer->retains ? Ref<Buffer>(buffer) : Ref<Buffer>(), offset, {}};
}

void Encoder::set_bytes(const void* bytes, size_t length, UInteger index) {
  EncodedArgument& to = argument(index, "setBytes");
  if (bytes == nullptr || length == 0 || length > 4096)
    invalid("setBytes at index {}: {} bytes, expected 1 to 4096", index, length);
  const auto* first = static_cast<const std::byte*>(bytes);
  to = {nullptr, {}, 0, {first, first + length}};
}

void Encoder::set_offset(size_t offset, UInteger index) {
  EncodedArgument& to = argument(index, "setBufferOffset");
  if (to.buffer == nullptr || offset >= to.buffer->memory->bytes())
    invalid("setBufferOffset at index {}: no buffer that long is bound", index);
  to.offset = offset;
}

void Encoder::set_threadgroup_bytes(size_t length, UInteger index) {
  check_open("setThreadgroupMemoryLength");
  if (index >= abi::kMaxThreadgroupArgs || length % 16 != 0)
    invalid("setThreadgroupMemoryLength {} at index {}: expected a multiple of 16", length, index);
  if (threadgroup_bytes_.size() <= index) threadgroup_bytes_.resize(index + 1);
  threadgroup_bytes_[index] = length;
}

void Encoder::dispatch(const Size& groups, const Size& threads) {
  check_open("dispatchThreadgroups");
  if (!pipeline) invalid("dispatchThreadgroups: no pipeline is set");
  EncodedDispatch dispatch;
  dispatch.pipeline = pipeline;
  dispatch.arguments = arguments_;
  dispatch.threadgroup_bytes = threadgroup_bytes_;
  dispatch.groups = narrow(groups, "threadgroups");
  dispatch.threads = narrow(threads, "threads of a threadgroup");
  dispatch.barrier_before = barrier || !is_concurrent;
  barrier = false;
  // What is wrong with the arguments shows here, where Metal's validation looks, not at the end.
  std::vector<Arg> args;
  for (const EncodedArgument& from : arguments_)
    args.push_back(from.buffer != nullptr ? Arg::buffer(*from.buffer->memory, from.offset)
                                          : Arg::bytes(from.bytes));
  (void)pipeline->kernel.plan(args, dispatch.groups, dispatch.threads, threadgroup_bytes_);
  command_buffer->dispatches.push_back(std::move(dispatch));
}

void Encoder::end() {
  check_open("endEncoding");
  ended = true;
  command_buffer->open_encoder = nullptr;
}

void Encoder::dispose() {
  if (!ended) invalid("{} is released without endEncoding", describe());
  arguments_.clear();
  pipeline = {};
}

const Methods& Encoder::methods() const {
  static const Methods* const table = [] {
    auto* methods = new Methods(&labelled_methods());
    methods->add("setComputePipelineState:", [](Encoder* self, SEL, Pipeline* state) {
      self->check_open("setComputePipelineState");
      if (state == nullptr) invalid("setComputePipelineState: nil");
      self->pipeline = Ref<Pipeline>(state);
    });
    methods->add("setBuffer:offset:atIndex:",
                 [](Encoder* self, SEL, Buffer* buffer, UInteger offset, UInteger index) {
                   self->set_buffer(buffer, offset, index);
                 });
    methods->add("setBufferOffset:atIndex:",
                 [](Encoder* self, SEL, UInteger offset, UInteger index) {
                   self->set_offset(offset, index);
                 });
    methods->add("setBytes:length:atIndex:",
                 [](Encoder* self, SEL, const void* bytes, UInteger length, UInteger index) {
                   self->set_bytes(bytes, length, index);
                 });
    methods->add("setThreadgroupMemoryLength:atIndex:",
                 [](Encoder* self, SEL, UInteger length, UInteger index) {
                   self->set_threadgroup_bytes(length, index);
                 });
    methods->add("memoryBarrierWithScope:", [](Encoder* self, SEL, UInteger scope) {
      self->check_open("memoryBarrier");
      if ((scope & 1) != 0) self->barrier = true;  // of buffers
    });
    methods->add("memoryBarrierWithResources:count:",
                 [](Encoder* self, SEL, Object* const*, UInteger) {
                   self->check_open("memoryBarrier");
                   self->barrier = true;  // of all: more than was asked for
                 });
    methods->add(
        "dispatchThreadgroups:threadsPerThreadgroup:",
        [](Encoder* self, SEL, Size groups, Size threads) { self->dispatch(groups, threads); });
    methods->add("dispatchThreads:threadsPerThreadgroup:",
                 [](Encoder* self, SEL, Size grid, Size threads) {
                   if (grid.width % threads.width != 0 || grid.height % threads.height != 0 ||
                       grid.depth % threads.depth != 0)
                     invalid("dispatchThreads: grids that groups do not divide are not supported");
                   self->dispatch({grid.width / threads.width, grid.height / threads.height,
                                   grid.depth / threads.depth},
                                  threads);
                 });
    methods->add("endEncoding", [](Encoder* self, SEL) { self->end(); });
    methods->add("dispatchType",
                 [](Encoder* self, SEL) -> UInteger { return self->is_concurrent; });
    methods->add("useResource:usage:", [](Encoder*, SEL, Object*, UInteger) {});
    for (const char* note : {"pushDebugGroup:", "insertDebugSignpost:"})
      methods->add(note, [](Encoder*, SEL, String*) {});
    methods->add("popDebugGroup", [](Encoder*, SEL) {});
    return methods;
  }();
  return *table;
}

}  // namespace decant::metal_host::objc
