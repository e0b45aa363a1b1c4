#include "decant/ops/sample/sample.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/sample/plan.h"

namespace decant {

namespace cpu {
void sample_chunk(const CpuGroup& group);  // cpu.cc
void sample_draw(const CpuGroup& group);   // cpu_draw.cc
}  // namespace cpu

namespace {

struct Kernels {
  Kernel chunk, draw;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu, const char* entry) {
      registry.add({.name = name,
                    .cpu = cpu,
                    .cuda = {.source = "decant/ops/sample/kernels.cu", .entry = entry},
                    .metal = {.source = "decant/ops/sample/kernels.metal", .entry = name}});
      return registry.resolve(name);
    };
    return Kernels{.chunk = add("sample_chunk_f32", &cpu::sample_chunk, "sample_chunk"),
                   .draw = add("sample_draw", &cpu::sample_draw, "sample_draw")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const SampleArgs& args) {
  const auto check = [](const char* name, const Buffer& buffer, DType dtype) {
    require(static_cast<bool>(buffer), "sample: {}: expected a buffer, got none", name);
    require(buffer.dtype() == dtype, "sample: {}: dtype must be {}, got {}", name, to_string(dtype),
            to_string(buffer.dtype()));
  };
  check("logits", args.logits, DType::kF32);
  check("token", args.token, DType::kI32);
  check("history", args.history, DType::kI32);
  check("state", args.state, DType::kI64);
  const uint64_t vocab = args.logits.elements(), capacity = args.history.elements();
  require(vocab > 0 && vocab <= INT32_MAX, "sample: logits: expected 1 to 2^31-1 elements, got {}",
          vocab);
  require(args.logits.shape()[args.logits.shape().rank() - 1] == vocab,
          "sample: logits: expected one row, got shape {}", args.logits.shape());
  require(args.token.elements() == 1, "sample: token: expected 1 element, got {}",
          args.token.elements());
  require(capacity > 0 && capacity <= INT32_MAX,
          "sample: history: expected 1 to 2^31-1 elements, got {}", capacity);
  require(args.state.elements() == 2, "sample: state: expected 2 elements, got {}",
          args.state.elements());
  if (args.params_buffer) {
    check("params_buffer", args.params_buffer, DType::kU8);
    require(args.params_buffer.elements() == sizeof(SampleParams) &&
                args.params_buffer.byte_offset() % alignof(SampleParams) == 0,
            "sample: params_buffer: expected {} bytes aligned to {}, got {} at offset {}",
            sizeof(SampleParams), alignof(SampleParams), args.params_buffer.elements(),
            args.params_buffer.byte_offset());
  } else {
    check_sample_params(args.params, "sample");
    require(args.params.repeat_penalty == 1 || args.params.repeat_last_n <= capacity,
            "sample: repeat_last_n: expected at most the history's capacity {}, got {}", capacity,
            args.params.repeat_last_n);
  }
  if (args.workspace) {
    check("workspace", args.workspace, DType::kU8);
    const size_t needed = sample_workspace_bytes(static_cast<uint32_t>(vocab));
    require(args.workspace.elements() >= needed && args.workspace.byte_offset() % 16 == 0,
            "sample: workspace: expected {} bytes aligned to 16, got {} at offset {}", needed,
            args.workspace.elements(), args.workspace.byte_offset());
  }
  const struct {
    const char* name;
    const Buffer& buffer;
  } all[] = {{"token", args.token},   {"history", args.history},
             {"state", args.state},   {"workspace", args.workspace},
             {"logits", args.logits}, {"params_buffer", args.params_buffer}};
  constexpr size_t kWritten = 4;  // the first of them
  for (size_t i = 0; i < kWritten; ++i)
    for (size_t j = i + 1; j < std::size(all); ++j)
      require(!all[i].buffer || !all[j].buffer || !all[i].buffer.overlaps(all[j].buffer),
              "sample: {}: must not overlap {}", all[i].name, all[j].name);
}

}  // namespace

size_t sample_workspace_bytes(uint32_t vocab) {
  require(vocab > 0 && vocab <= INT32_MAX,
          "sample_workspace_bytes: vocab: expected 1 to 2^31-1, got {}", vocab);
  return SampleWorkspace(vocab).bytes;
}

void check_sample_params(const SampleParams& params, std::string_view who) {
  require(std::isfinite(params.temp) && params.temp >= 0,
          "{}: temp: expected a finite number >= 0, got {}", who, params.temp);
  require(params.top_p >= 0 && params.top_p <= 1, "{}: top_p: expected 0 to 1, got {}", who,
          params.top_p);
  require(params.min_p >= 0 && params.min_p <= 1, "{}: min_p: expected 0 to 1, got {}", who,
          params.min_p);
  require(std::isfinite(params.repeat_penalty) && params.repeat_penalty > 0,
          "{}: repeat_penalty: expected a finite number > 0, got {}", who, params.repeat_penalty);
}

void sample(CommandEncoder& encoder, const SampleArgs& args) {
  validate(args);
  const SampleShape shape{.vocab = static_cast<uint32_t>(args.logits.elements()),
                          .history_capacity = static_cast<uint32_t>(args.history.elements())};
  const Kernels& k = kernels(encoder.device());
  const Buffer workspace = args.workspace
                               ? args.workspace
                               : encoder.scratch(DType::kU8, {sample_workspace_bytes(shape.vocab)});
  const KernelArg params = params_arg(args.params, args.params_buffer);
  // On Metal a group has so few threads that any number of registers lets it run.
  const bool on_metal = encoder.device().info().backend == BackendKind::kMetal;
  const uint32_t threads = on_metal ? kSampleMetalThreads : kSampleThreads;
  // Which parts of the workspace are written depends on the params.
  encoder.dispatch(k.chunk,
                   {params, bytes(shape), reads(args.logits), reads(args.history),
                    reads(args.state), reads_writes(workspace)},
                   {.grid = {select_chunks(shape.vocab)},
                    .group = {threads},
                    .shared_bytes = on_metal ? 0 : uint32_t{kSelectChunk * sizeof(float)},
                    .programmatic = true});
  encoder.dispatch(k.draw,
                   {params, bytes(shape), reads(args.logits), reads_writes(args.history),
                    reads_writes(args.state), reads_writes(workspace), writes(args.token)},
                   {.group = {threads}, .programmatic = true});
}

}  // namespace decant
