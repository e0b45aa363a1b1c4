#include "decant/ops/argmax/argmax.h"

#include "decant/core/error.h"
#include "decant/kernels/select.h"
#include "decant/ops/argmax/params.h"

namespace decant {

namespace cpu {
void argmax_row(const CpuGroup& group);    // cpu.cc
void argmax_chunk(const CpuGroup& group);  // cpu.cc
void argmax_merge(const CpuGroup& group);  // cpu.cc
}  // namespace cpu

namespace {

struct Kernels {
  Kernel row, chunk, merge;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu, const char* entry) {
      registry.add({.name = name,
                    .cpu = cpu,
                    .cuda = {.source = "decant/ops/argmax/kernels.cu", .entry = entry},
                    .metal = {.source = "decant/ops/argmax/kernels.metal", .entry = entry}});
      return registry.resolve(name);
    };
    return Kernels{.row = add("argmax_row_f32", &cpu::argmax_row, "argmax_row"),
                   .chunk = add("argmax_chunk_f32", &cpu::argmax_chunk, "argmax_chunk"),
                   .merge = add("argmax_merge", &cpu::argmax_merge, "argmax_merge")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const ArgmaxArgs& args) {
  const auto check = [](const char* name, const Buffer& buffer, DType dtype) {
    require(static_cast<bool>(buffer), "argmax: {}: expected a buffer, got none", name);
    require(buffer.dtype() == dtype, "argmax: {}: dtype must be {}, got {}", name, to_string(dtype),
            to_string(buffer.dtype()));
  };
  check("x", args.x, DType::kF32);
  check("out", args.out, DType::kI32);
  const Shape& shape = args.x.shape();
  require(shape.rank() == 1 || shape.rank() == 2, "argmax: x: expected shape [n, d] or [d], got {}",
          shape);
  const uint64_t row_elems = shape[shape.rank() - 1];
  require(args.x.elements() > 0 && row_elems <= INT32_MAX &&
              args.x.elements() / row_elems <= UINT32_MAX,
          "argmax: x: expected 1 to 2^32-1 rows of 1 to 2^31-1 elements, got {}", shape);
  require(args.out.elements() == args.x.elements() / row_elems,
          "argmax: out: expected {} elements as x has rows, got {}", args.x.elements() / row_elems,
          args.out.elements());
  require(!args.out.overlaps(args.x), "argmax: out: must not overlap x");
}

}  // namespace

void argmax(CommandEncoder& encoder, const ArgmaxArgs& args) {
  validate(args);
  const uint64_t row_elems = args.x.shape()[args.x.shape().rank() - 1];
  const ArgmaxParams params{.rows = static_cast<uint32_t>(args.out.elements()),
                            .row_elems = static_cast<uint32_t>(row_elems)};
  const Kernels& k = kernels(encoder.device());
  const uint32_t chunks = select_chunks(params.row_elems);
  const uint32_t threads = encoder.device().info().backend == BackendKind::kMetal ? 256 : 1024;
  if (chunks == 1) {
    encoder.dispatch(k.row, {bytes(params), reads(args.x), writes(args.out)},
                     {.grid = {params.rows}, .group = {threads}});
    return;
  }
  const Buffer keys = encoder.scratch(DType::kI64, {params.rows, chunks});
  encoder.dispatch(k.chunk, {bytes(params), reads(args.x), writes(keys)},
                   {.grid = {params.rows, chunks}, .group = {threads}});
  encoder.dispatch(
      k.merge, {bytes(params), reads(keys), writes(args.out)},
      {.grid = {(params.rows - 1) / kArgmaxMergeRows + 1}, .group = {kArgmaxMergeRows}});
}

}  // namespace decant
