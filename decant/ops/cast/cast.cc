#include "decant/ops/cast/cast.h"

#include "decant/core/error.h"
#include "decant/ops/cast/params.h"

namespace decant {

namespace cpu {
void cast(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel cast;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "cast",
                  .kind = OpKind::kElementwise,
                  .cpu = &cpu::cast,
                  .cuda = {.source = "decant/ops/cast/kernels.cu", .entry = "cast"},
                  .metal = {.source = "decant/ops/cast/kernels.metal", .entry = "cast"}});
    return Kernels{.cast = registry.resolve("cast")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

CastType type_of(const char* name, const Buffer& buffer) {
  require(static_cast<bool>(buffer), "cast: {}: expected a buffer, got none", name);
  switch (buffer.dtype()) {
    case DType::kF32:
      return CastType::kF32;
    case DType::kF16:
      return CastType::kF16;
    case DType::kBF16:
      return CastType::kBF16;
    default:
      fail(ErrorKind::kInvalidArgument, "cast: {}: dtype must be f32, f16 or bf16, got {}", name,
           to_string(buffer.dtype()));
  }
}

}  // namespace

void cast(CommandEncoder& encoder, const CastArgs& args) {
  const CastType from = type_of("x", args.x), to = type_of("out", args.out);
  const uint64_t elements = args.x.elements();
  require(elements > 0 && (elements - 1) / kCastGroupElements < UINT32_MAX,
          "cast: x: expected 1 to 2^44 elements, got {}", elements);
  require(args.out.elements() == elements, "cast: out: expected {} elements as x has, got {}",
          elements, args.out.elements());
  require(!args.out.overlaps(args.x), "cast: out: must not overlap x");
  const CastParams params{.elements = elements, .from = from, .to = to};
  encoder.dispatch(kernels(encoder.device()).cast, {bytes(params), reads(args.x), writes(args.out)},
                   {.grid = {static_cast<uint32_t>((elements - 1) / kCastGroupElements + 1)},
                    .group = {kCastGroupElements / 4}});
}

}  // namespace decant
