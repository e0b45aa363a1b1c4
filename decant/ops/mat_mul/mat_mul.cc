#include "decant/ops/mat_mul/mat_mul.h"

#include <algorithm>
#include <array>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/kernels/block_formats/chunk.h"
#include "decant/ops/mat_mul/params.h"

namespace decant {

namespace cpu {  // mat_vec_cpu.cc, mat_mul_cpu.cc
#define DECANT_MAT_MUL(format, Format)                \
  void mat_vec_##format##_f32(const CpuGroup& group); \
  void mat_mul_##format##_f32(const CpuGroup& group);
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
}  // namespace cpu

namespace {

struct Kernels {
  // By dtype; null where a weight may not have it.
  std::array<Kernel, 256> mat_vec{}, mat_mul{};
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    Kernels kernels;
#define DECANT_MAT_MUL(format, Format)                     \
  registry.add({.name = "mat_vec_" #format "_f32",         \
                .kind = OpKind::kMatMul,                   \
                .cpu = &cpu::mat_vec_##format##_f32});     \
  registry.add({.name = "mat_mul_" #format "_f32",         \
                .kind = OpKind::kMatMul,                   \
                .cpu = &cpu::mat_mul_##format##_f32});     \
  kernels.mat_vec[static_cast<size_t>(DType::k##Format)] = \
      registry.resolve("mat_vec_" #format "_f32");         \
  kernels.mat_mul[static_cast<size_t>(DType::k##Format)] = \
      registry.resolve("mat_mul_" #format "_f32");
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
    return kernels;
  });
}

void validate(const MatMulArgs& args) {
  const auto check = [](const char* name, const Buffer& buffer, const char* shape) {
    require(static_cast<bool>(buffer), "mat_mul: {}: expected a buffer, got none", name);
    const Shape& s = buffer.shape();
    require(s.rank() == 2 && s[0] > 0 && s[1] > 0 && s[0] <= INT32_MAX && s[1] <= INT32_MAX,
            "mat_mul: {}: expected {} of 1 to 2^31-1 each, got {}", name, shape, s.to_string());
  };
  check("weight", args.weight, "[rows, cols]");
  check("x", args.x, "[n, cols]");
  check("out", args.out, "[n, rows]");
  const Shape &weight = args.weight.shape(), &x = args.x.shape(), &out = args.out.shape();
  require(args.x.dtype() == DType::kF32, "mat_mul: x: dtype must be f32, got {}",
          to_string(args.x.dtype()));
  require(args.out.dtype() == DType::kF32, "mat_mul: out: dtype must be f32, got {}",
          to_string(args.out.dtype()));
  require(x[1] == weight[1], "mat_mul: x: expected [n, cols] with cols = {} as weight has, got {}",
          weight[1], x.to_string());
  require(out[0] == x[0] && out[1] == weight[0],
          "mat_mul: out: expected [n, rows] = [{}, {}], got {}", x[0], weight[0], out.to_string());
  require(!args.out.overlaps(args.x) && !args.out.overlaps(args.weight),
          "mat_mul: out: must not overlap an input");
}

struct Plan {
  Kernel kernel;
  MatMulParams params;
  Launch launch;
};

// Depends on the problem's size alone, so that results do not depend on the machine's threads.
Plan plan(const MatMulArgs& args, const Kernels& all) {
  const auto dtype = static_cast<size_t>(args.weight.dtype());
  Plan plan{.kernel = nullptr,
            .params = {.rows = static_cast<uint32_t>(args.weight.shape()[0]),
                       .cols = static_cast<uint32_t>(args.weight.shape()[1]),
                       .tokens = static_cast<uint32_t>(args.x.shape()[0]),
                       .group_rows = 0},
            .launch = {}};
  MatMulParams& p = plan.params;
  const auto groups = [](uint32_t n, uint32_t per_group) {
    return (n + per_group - 1) / per_group;
  };
  if (p.tokens <= kMatVecMaxTokens) {
    plan.kernel = all.mat_vec[dtype];
    // 128 K weights keep a core busy for 10 us or more, which hides the cost of a group (0.1 us);
    // but a small matrix is still cut into 16 groups, as long as they have 16 rows.
    const uint32_t large = std::max<uint32_t>((128 << 10) / p.cols, 4);
    p.group_rows = std::min(large, std::max<uint32_t>(16, groups(p.rows, 16)));
    p.group_rows = groups(p.group_rows, 4) * 4;
    const size_t chunks = (p.cols + kChunkElems - 1) / kChunkElems;
    plan.launch = {
        .grid = {groups(p.rows, p.group_rows)},
        .shared_bytes = static_cast<uint32_t>(chunks * kMatVecChunkSums * sizeof(float))};
  } else {
    plan.kernel = all.mat_mul[dtype];
    plan.launch = {.grid = {groups(p.rows, kMatMulGroupRows), groups(p.tokens, kMatMulGroupTokens)},
                   .shared_bytes = kMatMulSharedBytes};
  }
  return plan;
}

}  // namespace

void mat_mul(CommandEncoder& encoder, const MatMulArgs& args) {
  validate(args);
  const Plan made = plan(args, kernels(encoder.device()));
  if (!made.kernel)
    fail(ErrorKind::kUnsupportedDtype, "mat_mul: weight: dtype must be {}, got {}",
         kWeightFormatNames, to_string(args.weight.dtype()));
  encoder.dispatch(made.kernel,
                   {bytes(made.params), reads(args.weight), reads(args.x), writes(args.out)},
                   made.launch);
}

}  // namespace decant
