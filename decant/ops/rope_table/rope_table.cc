#include "decant/ops/rope_table/rope_table.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "decant/core/error.h"
#include "decant/ops/rope_table/params.h"

namespace decant {

namespace cpu {
void rope_table(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel rope_table;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add(
        {.name = "rope_table_f32",
         .cpu = &cpu::rope_table,
         .cuda = {.source = "decant/ops/rope_table/kernels.cu", .entry = "rope_table"},
         .metal = {.source = "decant/ops/rope_table/kernels.metal", .entry = "rope_table_f32"}});
    return Kernels{.rope_table = registry.resolve("rope_table_f32")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

// How far pair i turns from one position to the next, in units of 2^-64 turns.
uint64_t turns_of(const RopeTableArgs& args, uint64_t pair, uint64_t pairs) {
  const double radians = args.position_scale * std::pow(args.base, -static_cast<double>(pair) /
                                                                       static_cast<double>(pairs));
  const double turns = std::remainder(radians / (2 * std::numbers::pi), 1.0);  // [-1/2, 1/2]
  return static_cast<uint64_t>(static_cast<int64_t>(std::ldexp(turns, 63))) * 2;
}

// Tables of more pairs than one dispatch takes are made in parts.
void rope_table_metal(CommandEncoder& encoder, const RopeTableArgs& args) {
  const Shape& shape = args.out.shape();
  const auto pairs = static_cast<uint32_t>(shape[2]);
  RopeTableTurns params{.tokens = static_cast<uint32_t>(shape[0]),
                        .pairs = pairs,
                        .first_pair = 0,
                        .num_pairs = 0,
                        .turns = {}};
  for (; params.first_pair < pairs; params.first_pair += params.num_pairs) {
    params.num_pairs = std::min(pairs - params.first_pair, kRopeTableTurns);
    for (uint32_t i = 0; i < params.num_pairs; ++i)
      params.turns[i] = turns_of(args, params.first_pair + i, pairs);
    const bool whole = params.num_pairs == pairs;
    encoder.dispatch(kernels(encoder.device()).rope_table,
                     {bytes(params), params_arg(args.position, args.position_buffer),
                      whole ? writes(args.out) : reads_writes(args.out)},
                     {.grid = {(params.num_pairs + 31) / 32, params.tokens}, .group = {32}});
  }
}

}  // namespace

void validate(const RopeTableArgs& args) {
  require(static_cast<bool>(args.out), "rope_table: out: expected a buffer, got none");
  require(args.out.dtype() == DType::kF32, "rope_table: out: dtype must be f32, got {}",
          to_string(args.out.dtype()));
  const Shape& shape = args.out.shape();
  require(shape.rank() == 3 && shape[0] >= 1 && shape[0] <= UINT32_MAX && shape[1] == 2 &&
              shape[2] >= 1 && shape[2] <= UINT32_MAX,
          "rope_table: out: expected the shape [n, 2, head_dim / 2], got {}", shape);
  require(std::isfinite(args.base) && args.base > 0,
          "rope_table: base: expected a positive finite number, got {}", args.base);
  require(std::isfinite(args.position_scale),
          "rope_table: position_scale: expected a finite number, got {}", args.position_scale);
  require(args.position + shape[0] - 1 <= UINT32_MAX,
          "rope_table: position: {} and {} tokens pass 2^32", args.position, shape[0]);
  if (!args.position_buffer) return;
  require(args.position_buffer.dtype() == DType::kU32 && args.position_buffer.elements() == 1,
          "rope_table: position_buffer: expected u32 [1], got {} {}",
          to_string(args.position_buffer.dtype()), args.position_buffer.shape());
  require(!args.out.overlaps(args.position_buffer),
          "rope_table: out: must not overlap position_buffer");
}

void rope_table(CommandEncoder& encoder, const RopeTableArgs& args) {
  validate(args);
  if (encoder.device().info().backend == BackendKind::kMetal)
    return rope_table_metal(encoder, args);
  const Shape& shape = args.out.shape();
  const RopeTableParams params{.base = args.base,
                               .position_scale = args.position_scale,
                               .tokens = static_cast<uint32_t>(shape[0]),
                               .pairs = static_cast<uint32_t>(shape[2])};
  const uint32_t group_tokens = rope_table_group_tokens(params.pairs);
  encoder.dispatch(
      kernels(encoder.device()).rope_table,
      {bytes(params), params_arg(args.position, args.position_buffer), writes(args.out)},
      {.grid = {(params.tokens - 1) / group_tokens + 1}, .group = {128}, .programmatic = true});
}

}  // namespace decant
