#include "decant/ops/advance/advance.h"

#include "decant/core/error.h"
#include "decant/ops/advance/params.h"

namespace decant {

namespace cpu {
void advance(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel advance;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "advance", .kind = OpKind::kOther, .cpu = &cpu::advance});
    return Kernels{.advance = registry.resolve("advance")};
  });
}

void check(const char* name, const Buffer& buffer, DType dtype, uint64_t elements) {
  require(static_cast<bool>(buffer), "advance: {}: expected a buffer, got none", name);
  require(buffer.dtype() == dtype && buffer.elements() == elements,
          "advance: {}: expected {} [{}], got {} {}", name, to_string(dtype), elements,
          to_string(buffer.dtype()), buffer.shape());
}

}  // namespace

void advance(CommandEncoder& encoder, const AdvanceArgs& args) {
  check("step", args.step, DType::kU32, sizeof(DecodeStep) / 4);
  check("token", args.token, DType::kI32, 1);
  check("attn_a", args.attn_a, DType::kU32, sizeof(FlashAttnVecParams) / 4);
  check("attn_b", args.attn_b, DType::kU32, sizeof(FlashAttnVecParams) / 4);
  require(!args.token.overlaps(args.step), "advance: token: must not overlap step");
  encoder.dispatch(kernels(encoder.device()).advance,
                   {reads_writes(args.step), reads(args.token), reads_writes(args.attn_a),
                    reads_writes(args.attn_b)},
                   {.grid = {1}});
}

}  // namespace decant
