#include "decant/ops/mat_mul/mat_mul.h"

#include <algorithm>
#include <array>

#include "decant/core/error.h"
#include "decant/core/kernel_variants.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/kernels/block_formats/q8_row.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/kernels/mat_vec.h"
#include "decant/kernels/mat_vec_cuda.h"
#include "decant/ops/mat_mul/params.h"

namespace decant {

namespace cpu {  // mat_vec_cpu.cc, mat_mul_cpu.cc, mat_mul_q8_cpu.cc
#define DECANT_MAT_MUL(format, Format)                \
  void mat_vec_##format##_f32(const CpuGroup& group); \
  void mat_mul_##format##_f32(const CpuGroup& group);
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
#define DECANT_MAT_MUL(format, Format)               \
  void mat_vec_##format##_q8(const CpuGroup& group); \
  void mat_mul_##format##_q8(const CpuGroup& group);
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
#define DECANT_MAT_VEC(format, Format)                   \
  void mat_vec_##format##_x16_q8(const CpuGroup& group); \
  void mat_vec_##format##_x16_q16(const CpuGroup& group);
DECANT_FOR_EACH_X16_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
}  // namespace cpu

namespace {

// What a CUDA variant of mat_vec is compiled for; of mat_mul only the first two.
struct CudaVariant {
  uint32_t cols, format;
  cuda::MatVecShape shape;

  // NOLINTNEXTLINE(modernize-use-nullptr): it sees a comparison with 0 here.
  auto operator<=>(const CudaVariant&) const = default;
};

std::string name_of(const char* kernel, const CudaVariant& v) {
  return fmt::format("{}_{}_c{}", kernel, to_string(static_cast<DType>(v.format)), v.cols);
}
KernelDef define_mat_vec(const CudaVariant& v) {
  KernelDef def{.name = name_of("mat_vec", v) + v.shape.suffix(),
                .kind = OpKind::kMatMul,
                .cuda = {.source = "decant/ops/mat_mul/mat_vec.cu",
                         .entry = "mat_vec",
                         .constants = {{"DECANT_COLS", v.cols}, {"DECANT_FORMAT", v.format}}}};
  v.shape.append_to(def.cuda.constants);
  return def;
}
KernelDef define_mat_mul(const char* entry, const CudaVariant& v) {
  return {.name = name_of(entry, v),
          .kind = OpKind::kMatMul,
          .cuda = {.source = "decant/ops/mat_mul/mat_mul.cu",
                   .entry = entry,
                   .constants = {{"DECANT_COLS", v.cols}, {"DECANT_FORMAT", v.format}}}};
}

struct Kernels {
  explicit Kernels(KernelRegistry& registry)
      : cuda_mat_vec(registry), cuda_activations(registry), cuda_mat_mul(registry) {}

  // By dtype; null where a weight may not have it.
  std::array<Kernel, 256> mat_vec{}, mat_vec_q8{}, mat_vec_q16{}, mat_mul{}, mat_mul_q8{};
  KernelVariants<CudaVariant> cuda_mat_vec, cuda_activations, cuda_mat_mul;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    Kernels kernels(registry);
#define DECANT_MAT_MUL(format, Format)                                  \
  registry.add({.name = "mat_vec_" #format "_f32",                      \
                .kind = OpKind::kMatMul,                                \
                .cpu = &cpu::mat_vec_##format##_f32,                    \
                .metal = {.source = "decant/ops/mat_mul/kernels.metal", \
                          .entry = "mat_vec_" #format "_f32"}});        \
  registry.add({.name = "mat_mul_" #format "_f32",                      \
                .kind = OpKind::kMatMul,                                \
                .cpu = &cpu::mat_mul_##format##_f32,                    \
                .metal = {.source = "decant/ops/mat_mul/kernels.metal", \
                          .entry = "mat_mul_" #format "_f32"}});        \
  kernels.mat_vec[static_cast<size_t>(DType::k##Format)] =              \
      registry.resolve("mat_vec_" #format "_f32");                      \
  kernels.mat_mul[static_cast<size_t>(DType::k##Format)] =              \
      registry.resolve("mat_mul_" #format "_f32");
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
    const auto add = [&](auto& to, const char* name, CpuKernel cpu, DType dtype) {
      registry.add({.name = name, .kind = OpKind::kMatMul, .cpu = cpu});
      to[static_cast<size_t>(dtype)] = registry.resolve(name);
    };
#define DECANT_MAT_VEC(format, Format) \
  add(kernels.mat_vec_q8, "mat_vec_" #format "_q8", &cpu::mat_vec_##format##_q8, DType::k##Format);
    DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
#define DECANT_MAT_VEC(format, Format)                                                      \
  add(kernels.mat_vec_q8, "mat_vec_" #format "_x16_q8", &cpu::mat_vec_##format##_x16_q8,    \
      DType::k##Format##_X16);                                                              \
  add(kernels.mat_vec_q16, "mat_vec_" #format "_x16_q16", &cpu::mat_vec_##format##_x16_q16, \
      DType::k##Format##_X16);
    DECANT_FOR_EACH_X16_FORMAT(DECANT_MAT_VEC)
#undef DECANT_MAT_VEC
#define DECANT_MAT_MUL(format, Format)                        \
  registry.add({.name = "mat_mul_" #format "_q8",             \
                .kind = OpKind::kMatMul,                      \
                .cpu = &cpu::mat_mul_##format##_q8});         \
  kernels.mat_mul_q8[static_cast<size_t>(DType::k##Format)] = \
      registry.resolve("mat_mul_" #format "_q8");
    DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
    return kernels;
  });
}

cuda::MatVecShape cuda_mat_vec_shape(uint32_t rows, uint32_t cols, uint32_t format,
                                     const DeviceInfo& device) {
  return cuda::mat_vec_shape(
      {.cols = cols, .formats = {format, kFormatNone, kFormatNone}, .rows = {rows}}, device);
}
KernelDef define_activations(const CudaVariant& v) {
  return define_mat_mul("mat_mul_activations", v);
}
KernelDef define_product(const CudaVariant& v) { return define_mat_mul("mat_mul", v); }

// Every format, and the shapes of Gemma 3 270M in Q4_K_M, on 132 SMs.
const KernelListing kListing([](const Device& device) {
  const Kernels& all = kernels(device);
  DeviceInfo info = device.info();
  info.compute_units = 132;
  const auto add = [&](uint32_t rows, uint32_t cols, uint32_t format, bool next_early = false) {
    cuda::MatVecShape shape = cuda_mat_vec_shape(rows, cols, format, info);
    shape.next_early = next_early;
    all.cuda_mat_vec.get({cols, format, shape}, define_mat_vec);
    if (!is_block_format(format)) return;
    all.cuda_activations.get({cols, format, {}}, define_activations);
    all.cuda_mat_mul.get({cols, format, {}}, define_product);
  };
#define DECANT_MAT_MUL(format, Format) add(640, 768, kFormat##Format);
  DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_MAT_MUL)
#undef DECANT_MAT_MUL
  add(640, 1024, kFormatQ4_K, true);
  add(640, 2048, kFormatQ6_K, true);
  add(262144, 640, kFormatQ8_0);
});

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

void validate_x16(const MatMulArgs& args, const Device& device) {
  const std::string_view name = to_string(args.weight.dtype());
  require(device.info().backend == BackendKind::kCpu && args.activations != Activations::kF32,
          "mat_mul: weight: {} is for CPUs, with activations kQ8 or kQ16", name);
  require(args.weight.shape()[0] % kX16Rows == 0,
          "mat_mul: weight: {} needs a multiple of 16 rows, got {}", name, args.weight.shape()[0]);
}

struct Plan {
  Kernel kernel;
  MatMulParams params;
  Launch launch;
};

uint32_t groups(uint32_t n, uint32_t per_group) { return (n + per_group - 1) / per_group; }

void plan_metal(Plan& plan) {
  MatMulParams& p = plan.params;
  if (p.tokens <= kMatVecMaxTokens) {
    p.group_rows = kMatVecMetalRows;
    plan.launch = {.grid = {groups(p.rows, p.group_rows), p.tokens}, .group = {64}};
  } else {
    plan.launch = {.grid = {groups(p.rows, kMatMulMetalTile), groups(p.tokens, kMatMulMetalTile)},
                   .group = {128}};
  }
}

// Depends on the problem's size alone, so that results do not depend on the machine's threads.
Plan plan(const MatMulArgs& args, const Device& device) {
  const Kernels& all = kernels(device);
  const auto dtype = static_cast<size_t>(args.weight.dtype());
  Plan plan{.kernel = nullptr,
            .params = {.rows = static_cast<uint32_t>(args.weight.shape()[0]),
                       .cols = static_cast<uint32_t>(args.weight.shape()[1]),
                       .tokens = static_cast<uint32_t>(args.x.shape()[0]),
                       .group_rows = 0},
            .launch = {}};
  MatMulParams& p = plan.params;
  const bool q8 = args.activations == Activations::kQ8 && all.mat_vec_q8[dtype];
  const bool q16 = args.activations == Activations::kQ16 && all.mat_vec_q16[dtype];
  if (device.info().backend == BackendKind::kMetal) {
    plan.kernel = (p.tokens <= kMatVecMaxTokens ? all.mat_vec : all.mat_mul)[dtype];
    plan_metal(plan);
  } else if (p.tokens <= kMatVecMaxTokens) {
    plan.kernel = all.mat_vec[dtype];  // none for x16 formats
    // 128 K weights keep a core busy for 10 us or more, which hides the cost of a group (0.1 us);
    // but a small matrix is still cut into 16 groups, as long as they have 16 rows.
    const uint32_t large = std::max<uint32_t>((128 << 10) / p.cols, 4);
    p.group_rows = std::min(large, std::max<uint32_t>(16, groups(p.rows, 16)));
    if (is_x16(args.weight.dtype()))
      p.group_rows = std::max(p.group_rows / uint32_t{kX16Rows}, 1u) * uint32_t{kX16Rows};
    else
      p.group_rows = groups(p.group_rows, 4) * 4;
    size_t shared_bytes = cpu::mat_vec_scratch_floats(p.cols) * sizeof(float);
    if (q8 || q16) {
      plan.kernel = (q8 ? all.mat_vec_q8 : all.mat_vec_q16)[dtype];
      shared_bytes = p.tokens * (q8 ? 1 : 2) * q8_bytes(p.cols);
    }
    plan.launch = {.grid = {groups(p.rows, p.group_rows)},
                   .shared_bytes = static_cast<uint32_t>(shared_bytes)};
  } else if (q8) {
    plan.kernel = all.mat_mul_q8[dtype];
    plan.launch = {.grid = {groups(p.rows, mat_mul_q8_rows(p.cols)),
                            groups(p.tokens, mat_mul_q8_tokens(p.cols))},
                   .shared_bytes = static_cast<uint32_t>(mat_mul_q8_scratch_bytes(p.cols))};
  } else {
    plan.kernel = all.mat_mul[dtype];
    plan.launch = {.grid = {groups(p.rows, kMatMulGroupRows), groups(p.tokens, kMatMulGroupTokens)},
                   .shared_bytes = kMatMulSharedBytes};
  }
  return plan;
}

// Bytes of mat_mul.cu's Shared.
uint32_t cuda_shared_bytes(uint32_t format) {
  const uint32_t block = format_block_bytes(format);
  const uint32_t raw = format_block_elems(format) == 32 ? 4 * block : block;
  const uint32_t chunks = (raw + 15 + 15) / 16, raw_pitch = (chunks + 1 + chunks % 2) * 16;
  const bool halves = format == kFormatQ2_K || format == kFormatQ3_K || format == kFormatQ6_K;
  return 2 * 64 * ((4 * 96 + 32) + 4 * 16 + raw_pitch) + 64 * (4 * 32 + 32) +
         4 * 64 * (halves ? 16 : 8);
}

void mat_mul_cuda(CommandEncoder& encoder, const MatMulArgs& args) {
  const DeviceInfo& device = encoder.device().info();
  const Kernels& all = kernels(encoder.device());
  const auto format = static_cast<uint32_t>(args.weight.dtype());
  const MatMulParams params{.rows = static_cast<uint32_t>(args.weight.shape()[0]),
                            .cols = static_cast<uint32_t>(args.weight.shape()[1]),
                            .tokens = static_cast<uint32_t>(args.x.shape()[0]),
                            .group_rows = 0};
  const auto check = [](const char* name, const Buffer& buffer, uint32_t align) {
    require(buffer.byte_offset() % align == 0,
            "mat_mul: {}: byte offset must be a multiple of {} on CUDA, got {}", name, align,
            buffer.byte_offset());
  };
  check("weight", args.weight, format_align(format));
  if (params.cols % 4 == 0) check("x", args.x, 16);

  if (params.tokens <= kMatVecMaxTokens || !is_block_format(format)) {
    constexpr uint32_t kMaxGridY = 65535;
    cuda::MatVecShape shape = cuda_mat_vec_shape(params.rows, params.cols, format, device);
    shape.next_early = args.next_early;
    const Kernel kernel = all.cuda_mat_vec.get({params.cols, format, shape}, define_mat_vec);
    for (uint32_t at = 0; at < params.tokens; at += kMaxGridY) {
      const uint32_t tokens = std::min(params.tokens - at, kMaxGridY);
      shape.launch.grid.y = tokens;
      encoder.dispatch(kernel,
                       {bytes(params), reads(args.weight), reads(args.x.rows(at, tokens)),
                        writes(args.out.rows(at, tokens))},
                       shape.launch);
    }
    return;
  }
  const CudaVariant variant{params.cols, format, {}};
  const uint64_t items = params.cols / 32, chunks = (items + 3) / 4 * params.tokens;
  const Buffer words = encoder.scratch(DType::kU8, {params.tokens, items * 96});
  const Buffer scales = encoder.scratch(DType::kF32, {params.tokens, items * 4});
  const auto groups = [](uint64_t n, uint64_t of) {
    return static_cast<uint32_t>((n + of - 1) / of);
  };
  encoder.dispatch(all.cuda_activations.get(variant, define_activations),
                   {bytes(params), reads(args.x), writes(words), writes(scales)},
                   {.grid = {std::min(groups(chunks, 8), 8 * device.compute_units)},
                    .group = {256},
                    .programmatic = true});
  encoder.dispatch(
      all.cuda_mat_mul.get(variant, define_product),
      {bytes(params), reads(args.weight), reads(words), reads(scales), writes(args.out)},
      {.grid = {groups(params.rows, 64), groups(params.tokens, 64)},
       .group = {512},
       .shared_bytes = cuda_shared_bytes(format),
       .programmatic = true});
}

}  // namespace

void mat_mul(CommandEncoder& encoder, const MatMulArgs& args) {
  validate(args);
  if (encoder.device().info().backend == BackendKind::kCuda &&
      kernels(encoder.device()).mat_vec[static_cast<size_t>(args.weight.dtype())])
    return mat_mul_cuda(encoder, args);
  if (is_x16(args.weight.dtype())) validate_x16(args, encoder.device());
  // Formats for one token have no other kernels.
  const uint64_t tokens = args.x.shape()[0];
  if (is_x16(args.weight.dtype()) && tokens > kMatVecMaxTokens) {
    for (uint64_t at = 0; at < tokens; at += kMatVecMaxTokens) {
      const uint64_t n = std::min<uint64_t>(tokens - at, kMatVecMaxTokens);
      mat_mul(encoder, {.weight = args.weight,
                        .x = args.x.rows(at, n),
                        .out = args.out.rows(at, n),
                        .activations = args.activations});
    }
    return;
  }
  const Plan made = plan(args, encoder.device());
  if (!made.kernel)
    fail(ErrorKind::kUnsupportedDtype, "mat_mul: weight: dtype must be {}, got {}",
         kWeightFormatNames, to_string(args.weight.dtype()));
  encoder.dispatch(made.kernel,
                   {bytes(made.params), reads(args.weight), reads(args.x), writes(args.out)},
                   made.launch);
}

}  // namespace decant
