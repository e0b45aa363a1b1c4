#include "decant/ops/softcap/softcap.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/softcap/params.h"

namespace decant {

namespace cpu {
void softcap(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel softcap;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "softcap_f32",
                  .kind = OpKind::kElementwise,
                  .cpu = &cpu::softcap,
                  .cuda = {.source = "decant/ops/softcap/kernels.cu", .entry = "softcap"},
                  .metal = {.source = "decant/ops/softcap/kernels.metal", .entry = "softcap_f32"}});
    return Kernels{.softcap = registry.resolve("softcap_f32")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const SoftcapArgs& args) {
  const auto check = [&](const char* name, const Buffer& buffer) {
    require(static_cast<bool>(buffer), "softcap: {}: expected a buffer, got none", name);
    require(buffer.dtype() == DType::kF32, "softcap: {}: dtype must be f32, got {}", name,
            to_string(buffer.dtype()));
  };
  check("x", args.x);
  check("out", args.out);
  require(args.x.elements() > 0 && args.x.elements() <= UINT32_MAX,
          "softcap: x: expected 1 to 2^32-1 elements, got {}", args.x.elements());
  require(args.out.elements() == args.x.elements(),
          "softcap: out: expected {} elements as x has, got {}", args.x.elements(),
          args.out.elements());
  require(!args.out.overlaps(args.x) || args.out.byte_offset() == args.x.byte_offset(),
          "softcap: out: must be x itself or not overlap it");
  require(std::isfinite(args.cap) && args.cap > 0,
          "softcap: cap: expected a finite number > 0, got {}", args.cap);
}

}  // namespace

void softcap(CommandEncoder& encoder, const SoftcapArgs& args) {
  validate(args);
  const SoftcapParams params{.elements = static_cast<uint32_t>(args.x.elements()), .cap = args.cap};
  encoder.dispatch(kernels(encoder.device()).softcap,
                   {bytes(params), reads(args.x), writes(args.out)},
                   {.grid = {(params.elements - 1) / kSoftcapGroupElements + 1},
                    .group = {kSoftcapGroupElements / 4}});
}

}  // namespace decant
