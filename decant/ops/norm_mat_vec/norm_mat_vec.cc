#include "decant/ops/norm_mat_vec/norm_mat_vec.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "decant/core/error.h"
#include "decant/core/kernel_variants.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/kernels/mat_vec_cuda.h"
#include "decant/ops/norm_mat_vec/cpu.h"

namespace decant {
namespace {

// What a CUDA variant is compiled for.
struct CudaVariant {
  uint32_t cols;
  std::array<uint32_t, 3> formats;
  bool delta, gelu_mul;
  cuda::MatVecShape shape;

  // NOLINTNEXTLINE(modernize-use-nullptr): it sees a comparison with 0 here.
  auto operator<=>(const CudaVariant&) const = default;
};

KernelDef define(const CudaVariant& v) {
  KernelDef def{.name = fmt::format("norm_mat_vec_c{}", v.cols),
                .kind = OpKind::kMatMul,
                .cuda = {.source = "decant/ops/norm_mat_vec/kernels.cu",
                         .entry = "norm_mat_vec",
                         .constants = {{"DECANT_COLS", v.cols},
                                       {"DECANT_FORMAT_0", v.formats[0]},
                                       {"DECANT_FORMAT_1", v.formats[1]},
                                       {"DECANT_FORMAT_2", v.formats[2]},
                                       {"DECANT_DELTA", v.delta},
                                       {"DECANT_GELU_MUL", v.gelu_mul}}}};
  for (const uint32_t format : v.formats)
    if (format != kFormatNone)
      def.name += fmt::format("_{}", to_string(static_cast<DType>(format)));
  def.name +=
      fmt::format("{}{}{}", v.delta ? "_delta" : "", v.gelu_mul ? "_gelu" : "", v.shape.suffix());
  v.shape.append_to(def.cuda.constants);
  return def;
}

// Of a buffer that is read later: more does not stay in a GPU's cache until it is needed.
constexpr size_t kMostLaterBytes = 8 << 20;

struct Kernels {
  Kernel norm_mat_vec, norm_mat_vec_q8;  // the latter on the CPU alone
  KernelVariants<CudaVariant> cuda;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add(
        {.name = "norm_mat_vec",
         .kind = OpKind::kMatMul,
         .cpu = &cpu::norm_mat_vec,
         .metal = {.source = "decant/ops/norm_mat_vec/kernels.metal", .entry = "norm_mat_vec"}});
    registry.add(
        {.name = "norm_mat_vec_q8", .kind = OpKind::kMatMul, .cpu = &cpu::norm_mat_vec_q8});
    return Kernels{registry.resolve("norm_mat_vec"), registry.resolve("norm_mat_vec_q8"),
                   KernelVariants<CudaVariant>(registry)};
  });
}

// Those of Gemma 3 270M in Q4_K_M on 132 SMs, with and without a delta, and one of other formats.
const KernelListing kListing([](const Device& device) {
  const Kernels& all = kernels(device);
  DeviceInfo info = device.info();
  info.compute_units = 132;
  const auto add = [&](const cuda::MatVecProblem& p, bool delta) {
    cuda::MatVecShape shape = cuda::mat_vec_shape(p, info);
    shape.next_early = p.paired;
    all.cuda.get({p.cols, p.formats, delta, p.paired, shape}, define);
  };
  for (const bool delta : {false, true}) {
    add({.cols = 640, .formats = {kFormatQ5_0, kFormatQ5_0, kFormatQ8_0}, .rows = {1024, 256, 256}},
        delta);
    add({.cols = 640, .formats = {kFormatQ8_0, kFormatNone, kFormatNone}, .rows = {262144, 0, 0}},
        delta);
  }
  add({.cols = 640,
       .formats = {kFormatQ5_0, kFormatQ5_0, kFormatNone},
       .rows = {2048, 2048, 0},
       .paired = true},
      true);
  add({.cols = 2560,
       .formats = {kFormatQ4_K, kFormatQ4_K, kFormatQ6_K},
       .rows = {2048, 1024, 1024}},
      true);
  add({.cols = 96, .formats = {kFormatF32, kFormatF16, kFormatBF16}, .rows = {64, 32, 32}}, false);
});

struct Named {
  const char* name;
  const Buffer* buffer;
};
constexpr const char* kWeightNames[] = {"weights[0]", "weights[1]", "weights[2]"};
constexpr const char* kOutNames[] = {"outs[0]", "outs[1]", "outs[2]"};

bool is_weight_format(DType dtype) {
  switch (dtype) {
#define DECANT_CASE(format, Format) case DType::k##Format:
    DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_CASE)
#undef DECANT_CASE
    return true;
    default:
      return false;
  }
}

// How many weights there are: the first ones, without a gap.
size_t count_weights(const NormMatVecArgs& args) {
  size_t count = 0;
  while (count < args.weights.size() && args.weights[count]) ++count;
  return count;
}
size_t count_outs(const NormMatVecArgs& args) {
  return args.combine == Combine::kGeluMul ? 1 : count_weights(args);
}

void check_f32(const char* name, const Buffer& buffer, uint64_t elements, const char* as) {
  require(static_cast<bool>(buffer), "norm_mat_vec: {}: expected a buffer, got none", name);
  require(buffer.dtype() == DType::kF32, "norm_mat_vec: {}: dtype must be f32, got {}", name,
          to_string(buffer.dtype()));
  require(buffer.elements() == elements, "norm_mat_vec: {}: expected {} elements as {}, got {}",
          name, elements, as, buffer.elements());
}

void validate_weights(const NormMatVecArgs& args, BackendKind backend) {
  const bool takes_x16 = backend == BackendKind::kCpu && args.activations == Activations::kQ8;
  const uint64_t cols = args.x.elements();
  const size_t count = count_weights(args);
  require(count > 0, "norm_mat_vec: weights[0]: expected a buffer, got none");
  for (size_t i = 0; i < args.weights.size(); ++i) {
    const Buffer& weight = args.weights[i];
    require(i < count || !weight, "norm_mat_vec: {}: expected none, as weights[{}] is none",
            kWeightNames[i], count);
    if (!weight) continue;
    const Shape& shape = weight.shape();
    require(shape.rank() == 2 && shape[0] > 0 && shape[0] <= INT32_MAX && shape[1] == cols,
            "norm_mat_vec: {}: expected [rows, cols] with cols = {} as x has, got {}",
            kWeightNames[i], cols, shape);
    if (is_x16(weight.dtype()) && takes_x16)
      require(shape[0] % kX16Rows == 0, "norm_mat_vec: {}: {} needs a multiple of 16 rows, got {}",
              kWeightNames[i], to_string(weight.dtype()), shape[0]);
    else if (!is_weight_format(weight.dtype()))
      fail(ErrorKind::kUnsupportedDtype, "norm_mat_vec: {}: dtype must be {}, got {}",
           kWeightNames[i], kWeightFormatNames, to_string(weight.dtype()));
  }
  require(args.combine != Combine::kGeluMul ||
              (count == 2 && args.weights[0].shape() == args.weights[1].shape()),
          "norm_mat_vec: combine: kGeluMul needs two weights of one shape, got {}: {} and {}",
          count, args.weights[0].shape(), args.weights[1].shape());
  for (size_t i = 0; i < args.outs.size(); ++i) {
    if (i < count_outs(args))
      check_f32(kOutNames[i], args.outs[i], args.weights[i].shape()[0], "its weight has rows");
    else
      require(!args.outs[i], "norm_mat_vec: {}: expected none, as it has no weight", kOutNames[i]);
  }
}

// Nothing that is written may overlap anything else.
void validate_overlaps(const NormMatVecArgs& args) {
  const Named all[] = {{"x_out", &args.x_out},
                       {kOutNames[0], &args.outs[0]},
                       {kOutNames[1], &args.outs[1]},
                       {kOutNames[2], &args.outs[2]},
                       {"x", &args.x},
                       {"delta", &args.delta},
                       {"delta_weight", &args.delta_weight},
                       {"norm_weight", &args.norm_weight},
                       {kWeightNames[0], &args.weights[0]},
                       {kWeightNames[1], &args.weights[1]},
                       {kWeightNames[2], &args.weights[2]}};
  constexpr size_t kWritten = 4;
  for (size_t i = 0; i < kWritten; ++i)
    for (size_t j = i + 1; j < std::size(all); ++j)
      require(!all[i].buffer->overlaps(*all[j].buffer), "norm_mat_vec: {}: must not overlap {}",
              all[i].name, all[j].name);
}

void validate(const NormMatVecArgs& args, BackendKind backend) {
  require(static_cast<bool>(args.x), "norm_mat_vec: x: expected a buffer, got none");
  const uint64_t cols = args.x.elements();
  require(cols > 0 && cols <= INT32_MAX, "norm_mat_vec: x: expected 1 to 2^31-1 elements, got {}",
          cols);
  check_f32("x", args.x, cols, "x has");
  check_f32("norm_weight", args.norm_weight, cols, "x has");
  require(std::isfinite(args.eps) && args.eps > 0,
          "norm_mat_vec: eps: expected a positive finite number, got {}", args.eps);
  for (const auto& [name, buffer] : {Named{"delta", &args.delta},
                                     {"delta_weight", &args.delta_weight},
                                     {"x_out", &args.x_out}}) {
    if (args.delta)
      check_f32(name, *buffer, cols, "x has");
    else
      require(!*buffer, "norm_mat_vec: {}: expected none without a delta", name);
  }
  require(args.activations != Activations::kQ16,
          "norm_mat_vec: activations: expected kF32 or kQ8, got kQ16");
  validate_weights(args, backend);
  validate_overlaps(args);
}

// Groups read about as many bytes each, some for every thread, so that all end together. A row's
// result does not depend on its group.
void plan_cpu(NormMatVecPlan& plan, const NormMatVecArgs& args, size_t count, uint32_t threads) {
  NormMatVecParams& p = plan.params;
  const size_t per_row = p.gelu_mul ? 2 : 1;
  size_t bytes = 0;
  for (size_t i = 0; i < count; ++i) bytes += args.weights[i].byte_len();
  constexpr size_t kLeastBytes = 16 << 10, kMostBytes = 128 << 10, kGroupsPerThread = 8;
  const size_t group_bytes =
      std::clamp(bytes / (kGroupsPerThread * threads), kLeastBytes, kMostBytes);
  uint32_t groups = 0;
  for (size_t i = 0; i < count; ++i) {
    const size_t row_bytes = args.weights[i].byte_len() / p.rows[i] * per_row;
    // Whole passes of the kernel's rows; both weights of a gelu_mul share the groups.
    const bool x16 =
        is_x16(args.weights[i].dtype()) || (p.gelu_mul && is_x16(args.weights[1 - i].dtype()));
    const size_t pass = x16 ? kX16Rows : 4;
    const size_t rows = std::max((group_bytes / row_bytes + pass / 2) / pass * pass, pass);
    p.group_rows[i] = static_cast<uint32_t>(rows);
    if (i == 0 || !p.gelu_mul) groups += (p.rows[i] - 1) / p.group_rows[i] + 1;
  }
  if (p.gelu_mul) p.group_rows[1] = p.group_rows[0];
  const bool q8 = args.activations == Activations::kQ8;
  plan.launch = {.grid = {groups}, .shared_bytes = cpu::NormMatVecScratch(p, q8).bytes};
}

// The kernel knows formats by number.
static_assert(static_cast<int>(DType::kF32) == 0 && static_cast<int>(DType::kF16) == 1 &&
              static_cast<int>(DType::kBF16) == 2 && static_cast<int>(DType::kQ4_0) == 10 &&
              static_cast<int>(DType::kQ8_0) == 14 && static_cast<int>(DType::kQ6_K) == 19);

// Eight simdgroups of four rows; h lies in threadgroup memory.
void plan_metal(NormMatVecPlan& plan, size_t count) {
  constexpr uint32_t kThreads = 256, kRows = 32, kMostCols = (32768 - 256) / sizeof(float);
  NormMatVecParams& p = plan.params;
  require(p.cols <= kMostCols,
          "norm_mat_vec: x: Metal's threadgroup memory holds {} elements, got {}", kMostCols,
          p.cols);
  uint32_t groups = 0;
  for (size_t i = 0; i < count; ++i) {
    p.group_rows[i] = kRows;
    if (i == 0 || !p.gelu_mul) groups += (p.rows[i] - 1) / kRows + 1;
  }
  plan.launch = {.grid = {groups},
                 .group = {kThreads},
                 .shared_bytes = static_cast<uint32_t>(p.cols * sizeof(float))};
}

cuda::MatVecShape cuda_shape(const NormMatVecParams& p, const DeviceInfo& device) {
  cuda::MatVecProblem problem{.cols = p.cols, .paired = p.gelu_mul != 0};
  for (size_t i = 0; i < 3; ++i) {
    problem.rows[i] = p.rows[i];
    if (p.rows[i]) problem.formats[i] = p.dtype[i];
  }
  return cuda::mat_vec_shape(problem, device);
}

Kernel kernel_of(const NormMatVecPlan& plan, const NormMatVecArgs& args, const Device& device) {
  const Kernels& all = kernels(device);
  const BackendKind backend = device.info().backend;
  if (backend == BackendKind::kCpu && args.activations == Activations::kQ8)
    return all.norm_mat_vec_q8;
  if (backend != BackendKind::kCuda) return all.norm_mat_vec;
  const NormMatVecParams& p = plan.params;
  CudaVariant variant{p.cols, {}, p.has_delta != 0, p.gelu_mul != 0, cuda_shape(p, device.info())};
  variant.shape.next_early = args.next_early;
  for (size_t i = 0; i < 3; ++i) variant.formats[i] = p.rows[i] ? p.dtype[i] : kFormatNone;
  return all.cuda.get(variant, define);
}

// The kernel reads 16 bytes of its vectors at a time, and what a format's blocks allow of weights.
void validate_cuda_alignment(const NormMatVecArgs& args) {
  const Named vectors[] = {{"x", &args.x},
                           {"delta", &args.delta},
                           {"delta_weight", &args.delta_weight},
                           {"x_out", &args.x_out},
                           {"norm_weight", &args.norm_weight}};
  for (const auto& [name, buffer] : vectors)
    require(!*buffer || buffer->byte_offset() % 16 == 0,
            "norm_mat_vec: {}: byte offset must be a multiple of 16 on CUDA, got {}", name,
            buffer->byte_offset());
  for (size_t i = 0; i < args.weights.size(); ++i) {
    const Buffer& weight = args.weights[i];
    if (!weight) continue;
    const uint32_t align = format_align(static_cast<uint32_t>(weight.dtype()));
    require(weight.byte_offset() % align == 0,
            "norm_mat_vec: {}: byte offset must be a multiple of {} on CUDA, got {}",
            kWeightNames[i], align, weight.byte_offset());
  }
}

}  // namespace

NormMatVecPlan plan(const NormMatVecArgs& args, const Device& device) {
  validate(args, device.info().backend);
  const size_t count = count_weights(args);
  NormMatVecPlan plan{.params = {.cols = static_cast<uint32_t>(args.x.elements()),
                                 .eps = args.eps,
                                 .has_delta = args.delta ? 1u : 0u,
                                 .gelu_mul = args.combine == Combine::kGeluMul ? 1u : 0u,
                                 .rows = {},
                                 .dtype = {},
                                 .group_rows = {}},
                      .launch = {}};
  for (size_t i = 0; i < count; ++i) {
    plan.params.rows[i] = static_cast<uint32_t>(args.weights[i].shape()[0]);
    plan.params.dtype[i] = static_cast<uint32_t>(args.weights[i].dtype());
  }
  switch (device.info().backend) {
    case BackendKind::kCpu:
      plan_cpu(plan, args, count, device.info().compute_units);
      break;
    case BackendKind::kCuda:
      validate_cuda_alignment(args);
      plan.launch = cuda_shape(plan.params, device.info()).launch;
      break;
    case BackendKind::kMetal:
      plan_metal(plan, count);
      break;
  }
  return plan;
}

void norm_mat_vec(CommandEncoder& encoder, const NormMatVecArgs& args) {
  const NormMatVecPlan how = plan(args, encoder.device());
  constexpr uint64_t kNone = 0;
  // Metal wants a buffer where a kernel may write, even if it never does.
  const bool on_metal = encoder.device().info().backend == BackendKind::kMetal;
  const KernelArg none = on_metal ? reads(args.x) : bytes(kNone);
  const auto read = [&](const Buffer& buffer) { return buffer ? reads(buffer) : none; };
  const auto write = [&](const Buffer& buffer) { return buffer ? writes(buffer) : none; };
  const auto& [w0, w1, w2] = args.weights;
  const auto& [out0, out1, out2] = args.outs;
  const Kernel kernel = kernel_of(how, args, encoder.device());
  if (encoder.device().info().backend != BackendKind::kCuda) {
    encoder.dispatch(kernel,
                     {bytes(how.params), read(args.x), read(args.delta), read(args.delta_weight),
                      write(args.x_out), read(args.norm_weight), read(w0), read(w1), read(w2),
                      write(out0), write(out1), write(out2)},
                     how.launch);
    return;
  }
  NormMatVecLater later{};
  for (size_t i = 0; i < kNormMatVecLater; ++i)
    later.bytes[i] = static_cast<uint32_t>(std::min(args.later[i].byte_len(), kMostLaterBytes));
  const auto& [later0, later1, later2, later3] = args.later;
  encoder.dispatch(kernel,
                   {bytes(how.params), read(args.x), read(args.delta), read(args.delta_weight),
                    write(args.x_out), read(args.norm_weight), read(w0), read(w1), read(w2),
                    write(out0), write(out1), write(out2), bytes(later), read(later0), read(later1),
                    read(later2), read(later3)},
                   how.launch);
}

}  // namespace decant
