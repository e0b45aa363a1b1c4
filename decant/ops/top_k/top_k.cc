#include "decant/ops/top_k/top_k.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/kernels/select.h"
#include "decant/ops/top_k/params.h"

namespace decant {

namespace cpu {
void top_k_chunk(const CpuGroup& group);  // cpu.cc
void top_k_merge(const CpuGroup& group);  // cpu.cc
}  // namespace cpu

namespace {

struct Kernels {
  Kernel chunk, merge;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu, const char* entry) {
      registry.add({.name = name,
                    .cpu = cpu,
                    .cuda = {.source = "decant/ops/top_k/kernels.cu", .entry = entry},
                    .metal = {.source = "decant/ops/top_k/kernels.metal", .entry = name}});
      return registry.resolve(name);
    };
    return Kernels{.chunk = add("top_k_chunk_f32", &cpu::top_k_chunk, "top_k_chunk"),
                   .merge = add("top_k_merge_f32", &cpu::top_k_merge, "top_k_merge")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const TopKArgs& args) {
  const auto check = [](const char* name, const Buffer& buffer, DType dtype) {
    require(static_cast<bool>(buffer), "top_k: {}: expected a buffer, got none", name);
    require(buffer.dtype() == dtype, "top_k: {}: dtype must be {}, got {}", name, to_string(dtype),
            to_string(buffer.dtype()));
  };
  check("x", args.x, DType::kF32);
  check("values", args.values, DType::kF32);
  check("ids", args.ids, DType::kI32);
  require(args.x.elements() > 0 && args.x.elements() <= INT32_MAX,
          "top_k: x: expected 1 to 2^31-1 elements, got {}", args.x.elements());
  require(args.ids.elements() >= 1 && args.ids.elements() <= args.x.elements(),
          "top_k: ids: expected 1 to {} elements, got {}", args.x.elements(), args.ids.elements());
  require(args.values.elements() == args.ids.elements(),
          "top_k: values: expected {} elements as ids has, got {}", args.ids.elements(),
          args.values.elements());
  require(!args.values.overlaps(args.x) && !args.values.overlaps(args.ids),
          "top_k: values: must not overlap x or ids");
  require(!args.ids.overlaps(args.x), "top_k: ids: must not overlap x");
}

}  // namespace

void top_k(CommandEncoder& encoder, const TopKArgs& args) {
  validate(args);
  const auto k = static_cast<uint32_t>(args.ids.elements());
  const auto elements = static_cast<uint32_t>(args.x.elements());
  const TopKParams params{.elements = elements,
                          .k = k,
                          .candidates = k <= kTopKSelectMax ? k : std::min(elements, kSelectChunk)};
  const uint32_t chunks = select_chunks(elements);
  const Buffer keys = encoder.scratch(DType::kI64, {chunks, params.candidates});
  const uint32_t threads = encoder.device().info().backend == BackendKind::kMetal ? 256 : 1024;
  encoder.dispatch(kernels(encoder.device()).chunk, {bytes(params), reads(args.x), writes(keys)},
                   {.grid = {chunks}, .group = {threads}});
  encoder.dispatch(
      kernels(encoder.device()).merge,
      {bytes(params), reads(args.x), reads_writes(keys), writes(args.values), writes(args.ids)},
      {.group = {threads}});
}

}  // namespace decant
