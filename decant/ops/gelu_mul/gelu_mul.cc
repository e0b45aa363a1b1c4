#include "decant/ops/gelu_mul/gelu_mul.h"

#include "decant/core/error.h"
#include "decant/ops/gelu_mul/params.h"

namespace decant {

namespace cpu {
void gelu_mul(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel gelu_mul;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add(
        {.name = "gelu_mul_f32",
         .kind = OpKind::kElementwise,
         .cpu = &cpu::gelu_mul,
         .cuda = {.source = "decant/ops/gelu_mul/kernels.cu", .entry = "gelu_mul"},
         .metal = {.source = "decant/ops/gelu_mul/kernels.metal", .entry = "gelu_mul_f32"}});
    return Kernels{.gelu_mul = registry.resolve("gelu_mul_f32")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const GeluMulArgs& args) {
  const auto check = [&](const char* name, const Buffer& buffer) {
    require(static_cast<bool>(buffer), "gelu_mul: {}: expected a buffer, got none", name);
    require(buffer.dtype() == DType::kF32, "gelu_mul: {}: dtype must be f32, got {}", name,
            to_string(buffer.dtype()));
    require(buffer.elements() == args.gate.elements(),
            "gelu_mul: {}: expected {} elements as gate has, got {}", name, args.gate.elements(),
            buffer.elements());
  };
  check("gate", args.gate);
  check("up", args.up);
  check("out", args.out);
  require(args.gate.elements() > 0 && args.gate.elements() <= UINT32_MAX,
          "gelu_mul: gate: expected 1 to 2^32-1 elements, got {}", args.gate.elements());
  for (const Buffer* input : {&args.gate, &args.up})
    require(!args.out.overlaps(*input) || args.out.byte_offset() == input->byte_offset(),
            "gelu_mul: out: must be an input itself or not overlap it");
}

}  // namespace

void gelu_mul(CommandEncoder& encoder, const GeluMulArgs& args) {
  validate(args);
  const GeluMulParams params{.elements = static_cast<uint32_t>(args.gate.elements())};
  encoder.dispatch(kernels(encoder.device()).gelu_mul,
                   {bytes(params), reads(args.gate), reads(args.up), writes(args.out)},
                   {.grid = {(params.elements + kGeluMulGroupElements - 1) / kGeluMulGroupElements},
                    .group = {kGeluMulGroupElements / 4}});
}

}  // namespace decant
