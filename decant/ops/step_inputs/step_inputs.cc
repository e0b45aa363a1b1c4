#include "decant/ops/step_inputs/step_inputs.h"

#include "decant/core/error.h"
#include "decant/core/kernel_variants.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/ops/embed/embed.h"
#include "decant/ops/rope_table/rope_table.h"
#include "decant/ops/step_inputs/params.h"

namespace decant {
namespace {

// A CUDA variant for each format of the table.
KernelDef define(const uint32_t& format) {
  return {.name = fmt::format("step_inputs_{}", to_string(static_cast<DType>(format))),
          .cuda = {.source = "decant/ops/step_inputs/kernels.cu",
                   .entry = "step_inputs",
                   .constants = {{"DECANT_FORMAT", format}}}};
}

struct Kernels {
  explicit Kernels(KernelRegistry& registry) : cuda(registry) {}
  KernelVariants<uint32_t> cuda;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>(
      [](KernelRegistry& registry) { return Kernels(registry); });
}

const KernelListing kListing([](const Device& device) {
#define DECANT_LIST(format, Format) \
  kernels(device).cuda.get(static_cast<uint32_t>(DType::k##Format), define);
  DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_LIST)
#undef DECANT_LIST
});

EmbedArgs embed_args(const StepInputsArgs& args) {
  return {.table = args.table,
          .ids = args.advance.step.slice(offsetof(DecodeStep, token), DType::kI32, {1}),
          .out = args.x,
          .scale = args.scale};
}

RopeTableArgs rope_args(const StepInputsArgs& args, const StepRope& rope) {
  return {
      .out = rope.out,
      .base = rope.base,
      .position_scale = rope.position_scale,
      .position_buffer = args.advance.step.slice(offsetof(DecodeStep, position), DType::kU32, {1})};
}

void validate(const StepInputsArgs& args) {
  validate(args.advance);
  validate(embed_args(args));
  const Buffer* const outs[] = {&args.x, &args.ropes[0].out, &args.ropes[1].out};
  for (const StepRope& rope : args.ropes) {
    validate(rope_args(args, rope));
    require(rope.out.shape()[0] == 1, "step_inputs: ropes: expected tables of one token, got {}",
            rope.out.shape());
  }
  // What single ops may do one after the other, one kernel may not at once.
  for (const Buffer* out : outs) {
    for (const Buffer* other : {&args.advance.step, &args.advance.token, &args.advance.attn_a,
                                &args.advance.attn_b, &args.advance.log, &args.table})
      require(!out->overlaps(*other), "step_inputs: x, ropes: must not overlap another argument");
    for (const Buffer* other : outs)
      require(out == other || !out->overlaps(*other),
              "step_inputs: x, ropes: must not overlap each other");
  }
}

RopeTableParams rope_params(const StepRope& rope) {
  return {.base = rope.base,
          .position_scale = rope.position_scale,
          .tokens = 1,
          .pairs = static_cast<uint32_t>(rope.out.shape()[2])};
}

}  // namespace

void step_inputs(CommandEncoder& encoder, const StepInputsArgs& args) {
  validate(args);
  const AdvanceArgs& a = args.advance;
  if (encoder.device().info().backend != BackendKind::kCuda) {
    advance(encoder, a);
    embed(encoder, embed_args(args));
    for (const StepRope& rope : args.ropes) rope_table(encoder, rope_args(args, rope));
    return;
  }
  const StepInputsParams params{.ropes = {rope_params(args.ropes[0]), rope_params(args.ropes[1])},
                                .embed = {.vocab = static_cast<uint32_t>(args.table.shape()[0]),
                                          .hidden = static_cast<uint32_t>(args.table.shape()[1]),
                                          .tokens = 1,
                                          .scale = args.scale},
                                .log_slots = a.log ? static_cast<uint32_t>(a.log.elements()) : 0,
                                .unused = 0};
  constexpr uint64_t kNone = 0;
  encoder.dispatch(
      kernels(encoder.device()).cuda.get(static_cast<uint32_t>(args.table.dtype()), define),
      {bytes(params), reads_writes(a.step), reads(a.token), reads_writes(a.attn_a),
       reads_writes(a.attn_b), a.log ? reads_writes(a.log) : bytes(kNone), reads(args.table),
       writes(args.x), writes(args.ropes[0].out), writes(args.ropes[1].out)},
      {.group = {kEmbedThreads + kStepAngleThreads}, .programmatic = true});
}

}  // namespace decant
