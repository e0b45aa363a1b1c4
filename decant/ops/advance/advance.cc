#include "decant/ops/advance/advance.h"

#include "decant/core/error.h"
#include "decant/ops/advance/params.h"

namespace decant {

namespace cpu {
void advance(const CpuGroup& group);      // cpu.cc
void advance_log(const CpuGroup& group);  // cpu.cc
}  // namespace cpu

namespace {

constexpr char kSource[] = "decant/ops/advance/kernels.cu";
constexpr char kMetalSource[] = "decant/ops/advance/kernels.metal";

struct Kernels {
  Kernel advance, advance_log;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "advance",
                  .cpu = &cpu::advance,
                  .cuda = {.source = kSource, .entry = "advance"},
                  .metal = {.source = kMetalSource, .entry = "advance"}});
    registry.add({.name = "advance_log",
                  .cpu = &cpu::advance_log,
                  .cuda = {.source = kSource, .entry = "advance_log"},
                  .metal = {.source = kMetalSource, .entry = "advance_log"}});
    return Kernels{.advance = registry.resolve("advance"),
                   .advance_log = registry.resolve("advance_log")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void check(const char* name, const Buffer& buffer, DType dtype, uint64_t elements) {
  require(static_cast<bool>(buffer), "advance: {}: expected a buffer, got none", name);
  require(buffer.dtype() == dtype && buffer.elements() == elements,
          "advance: {}: expected {} [{}], got {} {}", name, to_string(dtype), elements,
          to_string(buffer.dtype()), buffer.shape());
}

}  // namespace

void validate(const AdvanceArgs& args) {
  check("step", args.step, DType::kU32, sizeof(DecodeStep) / 4);
  check("token", args.token, DType::kI32, 1);
  check("attn_a", args.attn_a, DType::kU32, sizeof(FlashAttnVecParams) / 4);
  check("attn_b", args.attn_b, DType::kU32, sizeof(FlashAttnVecParams) / 4);
  require(!args.token.overlaps(args.step), "advance: token: must not overlap step");
  if (!args.log) return;
  require(args.log.dtype() == DType::kI64 && args.log.elements() >= 1 &&
              args.log.elements() <= UINT32_MAX,
          "advance: log: expected i64 [n], got {} {}", to_string(args.log.dtype()),
          args.log.shape());
  for (const Buffer* other : {&args.step, &args.token, &args.attn_a, &args.attn_b})
    require(!args.log.overlaps(*other), "advance: log: must not overlap another argument");
}

void advance(CommandEncoder& encoder, const AdvanceArgs& args) {
  validate(args);
  const Kernels& k = kernels(encoder.device());
  const Launch launch{.group = {32}, .programmatic = true};
  if (!args.log) {
    encoder.dispatch(k.advance,
                     {reads_writes(args.step), reads(args.token), reads_writes(args.attn_a),
                      reads_writes(args.attn_b)},
                     launch);
    return;
  }
  encoder.dispatch(k.advance_log,
                   {reads_writes(args.step), reads(args.token), reads_writes(args.attn_a),
                    reads_writes(args.attn_b), reads_writes(args.log),
                    bytes(static_cast<uint32_t>(args.log.elements()))},
                   launch);
}

}  // namespace decant
