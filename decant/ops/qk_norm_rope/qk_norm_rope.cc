#include "decant/ops/qk_norm_rope/qk_norm_rope.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/qk_norm_rope/params.h"

namespace decant {

namespace cpu {  // cpu.cc
void qk_norm_rope_f32(const CpuGroup& group);
void qk_norm_rope_f16(const CpuGroup& group);
}  // namespace cpu

namespace {

struct Kernels {
  Kernel f32, f16;  // by the dtype of out
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu) {
      registry.add({.name = name,
                    .kind = OpKind::kNorm,
                    .cpu = cpu,
                    .cuda = {.source = "decant/ops/qk_norm_rope/kernels.cu", .entry = name},
                    .metal = {.source = "decant/ops/qk_norm_rope/kernels.metal", .entry = name}});
      return registry.resolve(name);
    };
    return Kernels{.f32 = add("qk_norm_rope_f32", &cpu::qk_norm_rope_f32),
                   .f16 = add("qk_norm_rope_f16", &cpu::qk_norm_rope_f16)};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate(const QkNormRopeArgs& args) {
  const auto check = [&](const char* name, const Buffer& buffer) {
    require(static_cast<bool>(buffer), "qk_norm_rope: {}: expected a buffer, got none", name);
    require(buffer.dtype() == DType::kF32, "qk_norm_rope: {}: dtype must be f32, got {}", name,
            to_string(buffer.dtype()));
  };
  check("x", args.x);
  check("weight", args.weight);
  check("rope", args.rope);
  require(static_cast<bool>(args.out), "qk_norm_rope: out: expected a buffer, got none");
  require(args.out.dtype() == DType::kF32 || args.out.dtype() == DType::kF16,
          "qk_norm_rope: out: dtype must be f32 or f16, got {}", to_string(args.out.dtype()));

  const Shape& shape = args.x.shape();
  require(shape.rank() == 3 && args.x.elements() > 0 && shape[2] % 2 == 0 &&
              shape[2] <= UINT32_MAX && args.x.elements() / shape[2] <= UINT32_MAX,
          "qk_norm_rope: x: expected the shape [n, num_heads, head_dim] with an even head_dim, "
          "got {}",
          shape);
  require(args.weight.elements() == shape[2],
          "qk_norm_rope: weight: expected {} elements as a head of x has, got {}", shape[2],
          args.weight.elements());
  require(args.rope.shape() == Shape({shape[0], 2, shape[2] / 2}),
          "qk_norm_rope: rope: expected the shape [{}, 2, {}], got {}", shape[0], shape[2] / 2,
          args.rope.shape());
  require(args.out.elements() == args.x.elements(),
          "qk_norm_rope: out: expected {} elements as x has, got {}", args.x.elements(),
          args.out.elements());
  require(std::isfinite(args.eps) && args.eps > 0,
          "qk_norm_rope: eps: expected a positive finite number, got {}", args.eps);
  require(!args.out.overlaps(args.x) ||
              (args.out.dtype() == DType::kF32 && args.out.byte_offset() == args.x.byte_offset()),
          "qk_norm_rope: out: must be x itself (both f32) or not overlap it");
  require(!args.out.overlaps(args.weight), "qk_norm_rope: out: must not overlap weight");
  require(!args.out.overlaps(args.rope), "qk_norm_rope: out: must not overlap rope");
}

Launch plan(const QkNormRopeParams& params, const Device& device) {
  // A simdgroup a head, four a group.
  if (device.info().backend == BackendKind::kMetal)
    return {.grid = {(params.rows - 1) / 4 + 1}, .group = {4 * 32}};
  return {.grid = {(params.rows - 1) / qk_norm_rope_group_rows(params.head_dim) + 1},
          .group = {512}};
}

}  // namespace

void qk_norm_rope(CommandEncoder& encoder, const QkNormRopeArgs& args) {
  validate(args);
  const Shape& shape = args.x.shape();
  const QkNormRopeParams params{.rows = static_cast<uint32_t>(shape[0] * shape[1]),
                                .num_heads = static_cast<uint32_t>(shape[1]),
                                .head_dim = static_cast<uint32_t>(shape[2]),
                                .eps = args.eps};
  const Kernels& k = kernels(encoder.device());
  encoder.dispatch(
      args.out.dtype() == DType::kF16 ? k.f16 : k.f32,
      {bytes(params), reads(args.x), reads(args.weight), reads(args.rope), writes(args.out)},
      plan(params, encoder.device()));
}

}  // namespace decant
