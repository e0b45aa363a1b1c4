#include "testing/graph_steps.h"

#include <cstddef>

namespace decant::testing {
namespace {

// Argument `index` as u32 values that repeat.
struct Repeated {
  Repeated(const CpuGroup& group, size_t index)
      : data(group.arg<const uint32_t>(index)), count(group.args[index].bytes / 4) {}
  uint32_t operator[](size_t i) const { return data[i % count]; }
  const uint32_t* data;
  size_t count;
};

void doubled_kernel(const CpuGroup& group) {
  const Repeated in(group, 1);
  for (size_t i = 0; i < group.args[2].bytes / 4; ++i)
    group.arg<uint32_t>(2)[i] = in[i] * 2 + group.params<Step>().addend;
}

void plus_kernel(const CpuGroup& group) {
  const Repeated in(group, 1), other(group, 2);
  for (size_t i = 0; i < group.args[3].bytes / 4; ++i)
    group.arg<uint32_t>(3)[i] = in[i] + other[i] * 3 + group.params<Step>().addend;
}

void total_kernel(const CpuGroup& group) {
  const Repeated in(group, 1);
  for (size_t i = 0; i < group.args[2].bytes / 4; ++i)
    group.arg<uint32_t>(2)[i] += in[i] * 7 + group.params<Step>().addend;
}

// params, in, other, out
void doubled_plus_kernel(const CpuGroup& group) {
  const auto& params = group.params<StepPair>();
  const Repeated in(group, 1), other(group, 2);
  for (size_t i = 0; i < group.args[3].bytes / 4; ++i)
    group.arg<uint32_t>(3)[i] =
        in[i] * 2 + params.first.addend + other[i] * 3 + params.second.addend;
}

// params, in, total, other, out
void total_plus_kernel(const CpuGroup& group) {
  const auto& params = group.params<StepPair>();
  const Repeated in(group, 1), other(group, 3);
  for (size_t i = 0; i < group.args[2].bytes / 4; ++i) {
    uint32_t& total = group.arg<uint32_t>(2)[i];
    total += in[i] * 7 + params.first.addend;
    group.arg<uint32_t>(4)[i] = total + other[i] * 3 + params.second.addend;
  }
}

// The params of both, or false if one has them in a buffer or the lengths differ.
bool pair_up(const DispatchView& first, const DispatchView& second, const Buffer& intermediate,
             StepPair& pair) {
  const Step *a = first.bytes<Step>(0), *b = second.bytes<Step>(0);
  if (!a || !b || second.buffer(3).elements() != intermediate.elements()) return false;
  pair = {*a, *b};
  return true;
}

bool fuse_doubled_plus(const DispatchView& first, const DispatchView& second,
                       CommandEncoder& encoder) {
  StepPair pair{};
  if (!pair_up(first, second, first.buffer(2), pair)) return false;
  encoder.dispatch(
      steps(encoder.device()).doubled_plus,
      {bytes(pair), reads(first.buffer(1)), reads(second.buffer(2)), writes(second.buffer(3))}, {});
  return true;
}

bool fuse_total_plus(const DispatchView& first, const DispatchView& second,
                     CommandEncoder& encoder) {
  StepPair pair{};
  if (!pair_up(first, second, first.buffer(2), pair)) return false;
  encoder.dispatch(steps(encoder.device()).total_plus,
                   {bytes(pair), reads(first.buffer(1)), reads_writes(first.buffer(2)),
                    reads(second.buffer(2)), writes(second.buffer(3))},
                   {});
  return true;
}

}  // namespace

const Steps& steps(const Device& device) {
  return device.registry().once<Steps>([](KernelRegistry& registry) {
    const auto add = [&](const char* name, CpuKernel cpu) {
      registry.add({.name = name, .cpu = cpu});
      return registry.resolve(name);
    };
    registry.add_fusion({.name = "doubled+plus",
                         .first = "doubled",
                         .second = "plus",
                         .first_output = 2,
                         .second_input = 1,
                         .drops_intermediate = true,
                         .fuse = &fuse_doubled_plus});
    registry.add_fusion({.name = "total+plus",
                         .first = "total",
                         .second = "plus",
                         .first_output = 2,
                         .second_input = 1,
                         .fuse = &fuse_total_plus});
    return Steps{.doubled = add("doubled", &doubled_kernel),
                 .plus = add("plus", &plus_kernel),
                 .total = add("total", &total_kernel),
                 .doubled_plus = add("doubled_plus", &doubled_plus_kernel),
                 .total_plus = add("total_plus", &total_plus_kernel)};
  });
}

void doubled(CommandEncoder& encoder, Step step, const Buffer& in, const Buffer& out,
             const Buffer& params) {
  encoder.dispatch(steps(encoder.device()).doubled,
                   {params_arg(step, params), reads(in), writes(out)}, {});
}

void plus(CommandEncoder& encoder, Step step, const Buffer& in, const Buffer& other,
          const Buffer& out, const Buffer& params) {
  encoder.dispatch(steps(encoder.device()).plus,
                   {params_arg(step, params), reads(in), reads(other), writes(out)}, {});
}

void total(CommandEncoder& encoder, Step step, const Buffer& in, const Buffer& total) {
  encoder.dispatch(steps(encoder.device()).total, {bytes(step), reads(in), reads_writes(total)},
                   {});
}

}  // namespace decant::testing
