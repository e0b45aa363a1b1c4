#include "decant/ops/elementwise/elementwise.h"

#include "decant/core/error.h"
#include "decant/ops/elementwise/params.h"

namespace decant {

namespace cpu {  // cpu.cc
void add(const CpuGroup& group);
void mul(const CpuGroup& group);
}  // namespace cpu

namespace {

struct Kernels {
  Kernel add, mul;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu, const char* entry) {
      registry.add({.name = name,
                    .kind = OpKind::kElementwise,
                    .cpu = cpu,
                    .cuda = {.source = "decant/ops/elementwise/kernels.cu", .entry = entry},
                    .metal = {.source = "decant/ops/elementwise/kernels.metal", .entry = name}});
      return registry.resolve(name);
    };
    return Kernels{.add = add("add_f32", &cpu::add, "add"),
                   .mul = add("mul_f32", &cpu::mul, "mul")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const char* op, const ElementwiseArgs& args) {
  const auto check = [&](const char* name, const Buffer& buffer) {
    require(static_cast<bool>(buffer), "{}: {}: expected a buffer, got none", op, name);
    require(buffer.dtype() == DType::kF32, "{}: {}: dtype must be f32, got {}", op, name,
            to_string(buffer.dtype()));
  };
  check("a", args.a);
  check("b", args.b);
  check("out", args.out);
  const uint64_t elements = args.a.elements();
  require(elements > 0 && elements <= UINT32_MAX, "{}: a: expected 1 to 2^32-1 elements, got {}",
          op, elements);
  const Shape& shape = args.a.shape();
  const uint64_t row = shape.rank() ? shape[shape.rank() - 1] : 1;
  require(args.b.elements() == elements || args.b.elements() == row,
          "{}: b: expected {} elements as a has, or {} as a's last axis, got {}", op, elements, row,
          args.b.elements());
  require(args.out.elements() == elements, "{}: out: expected {} elements as a has, got {}", op,
          elements, args.out.elements());
  require(!args.out.overlaps(args.a) || args.out.byte_offset() == args.a.byte_offset(),
          "{}: out: must be a itself or not overlap it", op);
  const bool repeats = args.b.elements() != elements;
  require(
      !args.out.overlaps(args.b) || (!repeats && args.out.byte_offset() == args.b.byte_offset()),
      "{}: out: must {}not overlap b", op, repeats ? "" : "be b itself or ");
}

void record(CommandEncoder& encoder, Kernel kernel, const ElementwiseArgs& args) {
  const ElementwiseParams params{.elements = static_cast<uint32_t>(args.a.elements()),
                                 .b_elements = static_cast<uint32_t>(args.b.elements())};
  encoder.dispatch(kernel, {bytes(params), reads(args.a), reads(args.b), writes(args.out)},
                   {.grid = {(params.elements - 1) / kElementwiseGroupElements + 1},
                    .group = {kElementwiseGroupElements / 4}});
}

}  // namespace

void add(CommandEncoder& encoder, const ElementwiseArgs& args) {
  validate("add", args);
  record(encoder, kernels(encoder.device()).add, args);
}

void mul(CommandEncoder& encoder, const ElementwiseArgs& args) {
  validate("mul", args);
  record(encoder, kernels(encoder.device()).mul, args);
}

}  // namespace decant
