#include "decant/ops/rms_norm/rms_norm.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>
#include <string_view>

#include "decant/core/error.h"
#include "decant/ops/rms_norm/fusions.h"
#include "decant/ops/rms_norm/kernels.h"
#include "decant/ops/rms_norm/params.h"

namespace decant {

namespace cpu {  // cpu.cc
void rms_norm(const CpuGroup& group);
void rms_norm_weight(const CpuGroup& group);
void rms_norm_add(const CpuGroup& group);
void rms_norm_add_norm(const CpuGroup& group);
void add_rms_norm(const CpuGroup& group);
}  // namespace cpu

const RmsNormKernels& rms_norm_kernels(const Device& device) {
  return device.registry().once<RmsNormKernels>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu) {
      // CUDA's entry is the name without the dtype.
      const std::string entry(name, std::string_view(name).rfind('_'));
      registry.add({.name = name,
                    .kind = OpKind::kNorm,
                    .cpu = cpu,
                    .cuda = {.source = "decant/ops/rms_norm/kernels.cu", .entry = entry},
                    .metal = {.source = "decant/ops/rms_norm/kernels.metal", .entry = name}});
      return registry.resolve(name);
    };
    const RmsNormKernels kernels{
        .rms_norm = add("rms_norm_f32", &cpu::rms_norm),
        .rms_norm_weight = add("rms_norm_weight_f32", &cpu::rms_norm_weight),
        .rms_norm_add = add("rms_norm_add_f32", &cpu::rms_norm_add),
        .rms_norm_add_norm = add("rms_norm_add_norm_f32", &cpu::rms_norm_add_norm),
        .add_rms_norm = add("add_rms_norm_f32", &cpu::add_rms_norm)};
    add_rms_norm_fusions(registry);
    return kernels;
  });
}

namespace {

const KernelListing kListing([](const Device& device) { rms_norm_kernels(device); });

struct Named {
  const char* name;
  const Buffer& buffer;
};

// Checks that all are f32, the rows alike and the weights one row.
void validate(const char* op, std::initializer_list<Named> rows,
              std::initializer_list<Named> weights, float eps) {
  const Named& first = *rows.begin();
  const auto check = [&](const Named& arg) {
    require(static_cast<bool>(arg.buffer), "{}: {}: expected a buffer, got none", op, arg.name);
    require(arg.buffer.dtype() == DType::kF32, "{}: {}: dtype must be f32, got {}", op, arg.name,
            to_string(arg.buffer.dtype()));
  };
  for (const Named& arg : rows) {
    check(arg);
    require(arg.buffer.elements() == first.buffer.elements(),
            "{}: {}: expected {} elements as {} has, got {}", op, arg.name, first.buffer.elements(),
            first.name, arg.buffer.elements());
  }
  const Shape& shape = first.buffer.shape();
  require(shape.rank() >= 1, "{}: {}: expected at least one axis, got a scalar", op, first.name);
  const uint64_t row = shape[shape.rank() - 1];
  require(row >= 1 && row <= UINT32_MAX && first.buffer.elements() >= 1 &&
              first.buffer.elements() / row <= UINT32_MAX,
          "{}: {}: expected 1 to 2^32-1 rows of 1 to 2^32-1 elements, got {}", op, first.name,
          shape);
  for (const Named& arg : weights) {
    check(arg);
    require(arg.buffer.elements() == row, "{}: {}: expected {} elements as a row of {} has, got {}",
            op, arg.name, row, first.name, arg.buffer.elements());
  }
  require(std::isfinite(eps) && eps > 0, "{}: eps: expected a positive finite number, got {}", op,
          eps);
}

// An output may be one of `same` exactly, and else overlaps no operand.
void check_overlap(const char* op, const Named& out, std::initializer_list<Named> same,
                   std::initializer_list<Named> apart) {
  for (const Named& arg : same)
    require(
        !out.buffer.overlaps(arg.buffer) || out.buffer.byte_offset() == arg.buffer.byte_offset(),
        "{}: {}: must be {} itself or not overlap it", op, out.name, arg.name);
  for (const Named& arg : apart)
    require(!out.buffer.overlaps(arg.buffer), "{}: {}: must not overlap {}", op, out.name,
            arg.name);
}

RmsNormParams params_of(const Buffer& x, float eps) {
  const uint64_t row = x.shape()[x.shape().rank() - 1];
  return {.row_elems = static_cast<uint32_t>(row), .eps = eps, .next_eps = eps};
}

// One group normalises one row; a thread takes four elements at a time. On Metal a group has no
// more than 256 threads, so that any number of registers lets it run; all kernels the same for a
// length, or their bits would differ.
Launch launch_of(const Buffer& x, const Device& device) {
  const uint64_t row = x.shape()[x.shape().rank() - 1];
  const uint64_t most = device.info().backend == BackendKind::kMetal ? 8 : 32;
  const uint64_t warps = std::clamp<uint64_t>((row + 127) / 128, 1, most);
  return {.grid = {static_cast<uint32_t>(x.elements() / row)},
          .group = {static_cast<uint32_t>(warps * 32)}};
}

}  // namespace

void rms_norm(CommandEncoder& encoder, const RmsNormArgs& args) {
  const Named x{"x", args.x}, out{"out", args.out}, weight{"weight", args.weight};
  const RmsNormKernels& kernels = rms_norm_kernels(encoder.device());
  if (!args.weight) {
    validate("rms_norm", {x, out}, {}, args.eps);
    check_overlap("rms_norm", out, {x}, {});
    encoder.dispatch(kernels.rms_norm,
                     {bytes(params_of(args.x, args.eps)), reads(args.x), writes(args.out)},
                     launch_of(args.x, encoder.device()));
    return;
  }
  validate("rms_norm", {x, out}, {weight}, args.eps);
  check_overlap("rms_norm", out, {x}, {weight});
  encoder.dispatch(
      kernels.rms_norm_weight,
      {bytes(params_of(args.x, args.eps)), reads(args.x), reads(args.weight), writes(args.out)},
      launch_of(args.x, encoder.device()));
}

void rms_norm_add(CommandEncoder& encoder, const RmsNormAddArgs& args) {
  const Named x{"x", args.x}, weight{"weight", args.weight}, residual{"residual", args.residual};
  validate("rms_norm_add", {x, residual}, {weight}, args.eps);
  check_overlap("rms_norm_add", residual, {}, {x, weight});
  encoder.dispatch(rms_norm_kernels(encoder.device()).rms_norm_add,
                   {bytes(params_of(args.x, args.eps)), reads(args.x), reads(args.weight),
                    reads_writes(args.residual)},
                   launch_of(args.x, encoder.device()));
}

void rms_norm_add_norm(CommandEncoder& encoder, const RmsNormAddNormArgs& args) {
  const Named x{"x", args.x}, weight{"weight", args.weight}, residual{"residual", args.residual},
      next_weight{"next_weight", args.next_weight}, out{"out", args.out};
  validate("rms_norm_add_norm", {x, residual, out}, {weight, next_weight}, args.eps);
  check_overlap("rms_norm_add_norm", residual, {}, {x, weight, next_weight});
  check_overlap("rms_norm_add_norm", out, {x}, {weight, residual, next_weight});
  encoder.dispatch(rms_norm_kernels(encoder.device()).rms_norm_add_norm,
                   {bytes(params_of(args.x, args.eps)), reads(args.x), reads(args.weight),
                    reads_writes(args.residual), reads(args.next_weight), writes(args.out)},
                   launch_of(args.x, encoder.device()));
}

void add_rms_norm(CommandEncoder& encoder, const AddRmsNormArgs& args) {
  const Named a{"a", args.a}, b{"b", args.b}, sum{"sum", args.sum}, weight{"weight", args.weight},
      out{"out", args.out};
  validate("add_rms_norm", {a, b, sum, out}, {weight}, args.eps);
  check_overlap("add_rms_norm", sum, {a, b}, {weight});
  check_overlap("add_rms_norm", out, {a, b}, {sum, weight});
  encoder.dispatch(rms_norm_kernels(encoder.device()).add_rms_norm,
                   {bytes(params_of(args.a, args.eps)), reads(args.a), reads(args.b),
                    writes(args.sum), reads(args.weight), writes(args.out)},
                   launch_of(args.a, encoder.device()));
}

}  // namespace decant
