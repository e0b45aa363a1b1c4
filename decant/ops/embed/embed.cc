#include "decant/ops/embed/embed.h"

#include <array>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/ops/embed/params.h"

namespace decant {

namespace cpu {  // cpu.cc
#define DECANT_EMBED(format, Format) void embed_##format(const CpuGroup& group);
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_EMBED)
#undef DECANT_EMBED
}  // namespace cpu

namespace {

struct Kernels {
  std::array<Kernel, 256> of_dtype{};
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    Kernels kernels;
#define DECANT_EMBED(format, Format)                                                        \
  registry.add(                                                                             \
      {.name = "embed_" #format,                                                            \
       .cpu = &cpu::embed_##format,                                                         \
       .cuda = {.source = "decant/ops/embed/kernels.cu",                                    \
                .entry = "embed",                                                           \
                .constants = {{"DECANT_FORMAT", static_cast<uint32_t>(DType::k##Format)}}}, \
       .metal = {.source = "decant/ops/embed/kernels.metal", .entry = "embed_" #format}});  \
  kernels.of_dtype[static_cast<size_t>(DType::k##Format)] = registry.resolve("embed_" #format);
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_EMBED)
#undef DECANT_EMBED
    return kernels;
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

Launch plan(const EmbedParams& params, const Device& device) {
  // A group a token; a thread decodes eight weights at a time.
  if (device.info().backend == BackendKind::kMetal) return {.grid = {params.tokens}, .group = {64}};
  return {.grid = {(params.tokens + kEmbedGroupTokens - 1) / kEmbedGroupTokens},
          .group = {kEmbedThreads},
          .programmatic = true};
}

bool is_table_dtype(DType table) {
  switch (table) {
#define DECANT_CASE(format, Format) case DType::k##Format:
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_CASE)
#undef DECANT_CASE
    return true;
    default:
      return false;
  }
}

}  // namespace

void validate(const EmbedArgs& args) {
  const auto present = [](const char* name, const Buffer& buffer) {
    require(static_cast<bool>(buffer), "embed: {}: expected a buffer, got none", name);
  };
  present("table", args.table);
  present("ids", args.ids);
  present("out", args.out);
  const Shape &table = args.table.shape(), &ids = args.ids.shape(), &out = args.out.shape();
  require(table.rank() == 2 && table[0] > 0 && table[1] > 0 && table[0] <= INT32_MAX &&
              table[1] <= INT32_MAX,
          "embed: table: expected [vocab, hidden] of at most 2^31-1 each, got {}",
          table.to_string());
  require(args.ids.dtype() == DType::kI32, "embed: ids: dtype must be i32, got {}",
          to_string(args.ids.dtype()));
  require(ids.rank() == 1 && ids[0] > 0 && ids[0] <= INT32_MAX,
          "embed: ids: expected [n] with n of 1 to 2^31-1, got {}", ids.to_string());
  require(args.out.dtype() == DType::kF32, "embed: out: dtype must be f32, got {}",
          to_string(args.out.dtype()));
  require(out == Shape({ids[0], table[1]}), "embed: out: expected [n, hidden] = [{}, {}], got {}",
          ids[0], table[1], out.to_string());
  require(!args.out.overlaps(args.table) && !args.out.overlaps(args.ids),
          "embed: out: must not overlap an input");
  if (!is_table_dtype(args.table.dtype()))
    fail(ErrorKind::kUnsupportedDtype, "embed: table: dtype must be {}, got {}", kWeightFormatNames,
         to_string(args.table.dtype()));
}

void embed(CommandEncoder& encoder, const EmbedArgs& args) {
  validate(args);
  const Kernel kernel = kernels(encoder.device()).of_dtype[static_cast<size_t>(args.table.dtype())];
  const EmbedParams params{.vocab = static_cast<uint32_t>(args.table.shape()[0]),
                           .hidden = static_cast<uint32_t>(args.table.shape()[1]),
                           .tokens = static_cast<uint32_t>(args.ids.shape()[0]),
                           .scale = args.scale};
  encoder.dispatch(kernel, {bytes(params), reads(args.table), reads(args.ids), writes(args.out)},
                   plan(params, encoder.device()));
}

}  // namespace decant
