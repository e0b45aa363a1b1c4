#include "decant/ops/pack_weights/pack_weights.h"

#include <array>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/pack_weights/params.h"

namespace decant {

namespace cpu {  // cpu.cc
#define DECANT_PACK(format, Format) void pack_weights_##format(const CpuGroup& group);
DECANT_FOR_EACH_X16_FORMAT(DECANT_PACK)
#undef DECANT_PACK
}  // namespace cpu

namespace {

struct Kernels {
  std::array<Kernel, 256> pack{};  // by dtype
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    Kernels kernels;
#define DECANT_PACK(format, Format)                   \
  registry.add({.name = "pack_weights_" #format,      \
                .kind = OpKind::kOther,               \
                .cpu = &cpu::pack_weights_##format}); \
  kernels.pack[static_cast<size_t>(DType::k##Format)] = registry.resolve("pack_weights_" #format);
    DECANT_FOR_EACH_X16_FORMAT(DECANT_PACK)
#undef DECANT_PACK
    return kernels;
  });
}

void validate(const PackWeightsArgs& args, const Device& device) {
  require(device.info().backend == BackendKind::kCpu,
          "pack_weights: the device must be a CPU; others read weights as files have them");
  require(static_cast<bool>(args.weight), "pack_weights: weight: expected a buffer, got none");
  require(static_cast<bool>(args.out), "pack_weights: out: expected a buffer, got none");
  const std::optional<DType> packed = x16_of(args.weight.dtype());
  if (!packed)
    fail(ErrorKind::kUnsupportedDtype,
         "pack_weights: weight: dtype must be q4_0, q5_0, q8_0, q4_k or q6_k, got {}",
         to_string(args.weight.dtype()));
  const Shape& shape = args.weight.shape();
  require(shape.rank() == 2 && shape[0] > 0 && shape[0] % kX16Rows == 0 && shape[1] > 0 &&
              shape[0] / kX16Rows <= INT32_MAX && shape[1] <= INT32_MAX,
          "pack_weights: weight: expected [rows, cols] with a multiple of 16 rows, got {}", shape);
  require(args.out.dtype() == *packed, "pack_weights: out: dtype must be {}, got {}",
          to_string(*packed), to_string(args.out.dtype()));
  require(args.out.shape() == shape, "pack_weights: out: expected {} as weight has, got {}", shape,
          args.out.shape());
  require(!args.out.overlaps(args.weight), "pack_weights: out: must not overlap weight");
}

}  // namespace

bool can_pack_weights(const Device& device, const Buffer& weight) {
  return device.info().backend == BackendKind::kCpu && x16_of(weight.dtype()) &&
         weight.shape().rank() == 2 && weight.shape()[0] % kX16Rows == 0;
}

void pack_weights(CommandEncoder& encoder, const PackWeightsArgs& args) {
  validate(args, encoder.device());
  const Shape& shape = args.weight.shape();
  const PackWeightsParams params{
      .blocks = static_cast<uint32_t>(shape[1] / info(args.weight.dtype()).block_elems)};
  encoder.dispatch(kernels(encoder.device()).pack[static_cast<size_t>(args.weight.dtype())],
                   {bytes(params), reads(args.weight), writes(args.out)},
                   {.grid = {static_cast<uint32_t>(shape[0] / kX16Rows)}});
}

}  // namespace decant
