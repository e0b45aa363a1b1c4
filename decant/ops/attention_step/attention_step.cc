#include "decant/ops/attention_step/attention_step.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/core/kernel_variants.h"
#include "decant/kernels/attention_split.h"
#include "decant/ops/attention_step/cpu.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"

namespace decant {
namespace {

constexpr uint32_t kHeadDims[] = {64, 128, 256};

// Query heads of one KV head that a Metal simdgroup computes: 1 << index.
constexpr size_t kMetalHeadTiles = 3;
constexpr const char* kMetalTileNames[kMetalHeadTiles] = {"", "_h2", "_h4"};

// A form of the CUDA kernel: how the blocks that share the keys of a head merge.
enum class CudaForm : uint32_t { kCluster = 2, kScratch = 3 };  // as kernels.cu has them

struct CudaVariant {
  uint32_t head_dim, heads;  // heads: of a block
  CudaForm form;

  // Half the warps with two tiles each in flight are faster where there are warps enough.
  uint32_t tiles() const { return head_dim == 256 && heads == 4 ? 2 : 1; }
  uint32_t key_groups() const { return 4 / tiles(); }

  // NOLINTNEXTLINE(modernize-use-nullptr): it sees a comparison with 0 here.
  auto operator<=>(const CudaVariant&) const = default;
};
constexpr uint32_t kCudaCluster = 8;

KernelDef define(const CudaVariant& v) {
  return {.name = fmt::format("attention_step_f16_dk{0}_dv{0}_h{1}_{2}", v.head_dim, v.heads,
                              v.form == CudaForm::kCluster ? "cluster" : "scratch"),
          .kind = OpKind::kSdpa,
          .cuda = {.source = "decant/ops/attention_step/kernels.cu",
                   .entry = "attention_step",
                   .constants = {{"DECANT_HEAD_DIM", v.head_dim},
                                 {"DECANT_HEADS", v.heads},
                                 {"DECANT_KEY_GROUPS", v.key_groups()},
                                 {"DECANT_TILES", v.tiles()},
                                 {"DECANT_FORM", static_cast<uint32_t>(v.form)},
                                 {"DECANT_CLUSTER", kCudaCluster}}}};
}

struct Kernels {
  explicit Kernels(KernelRegistry& registry) : cuda(registry) {}
  Kernel step[kMetalHeadTiles][3];  // by Metal's tile, then head dim; the first are the CPU's
  KernelVariants<CudaVariant> cuda;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    Kernels made(registry);
    for (size_t i = 0; i < 3; ++i) {
      for (size_t tile = 0; tile < kMetalHeadTiles; ++tile) {
        const std::string name =
            fmt::format("attention_step_f16{1}_dk{0}_dv{0}", kHeadDims[i], kMetalTileNames[tile]);
        registry.add(
            {.name = name,
             .kind = OpKind::kSdpa,
             .cpu = tile == 0 ? cpu::attention_step(kHeadDims[i]) : nullptr,
             .metal = {.source = "decant/ops/attention_step/kernels.metal", .entry = name}});
        made.step[tile][i] = registry.resolve(name);
      }
    }
    return made;
  });
}

size_t head_dim_index(uint64_t head_dim) {
  for (size_t i = 0; i < 3; ++i)
    if (kHeadDims[i] == head_dim) return i;
  fail(ErrorKind::kInvalidArgument, "attention_step: q: head_dim must be 64, 128 or 256, got {}",
       head_dim);
}

void check_tensor(const char* name, const Buffer& buffer, DType dtype, const Device& device) {
  require(static_cast<bool>(buffer), "attention_step: {}: expected a buffer, got none", name);
  require(buffer.dtype() == dtype, "attention_step: {}: dtype must be {}, got {}", name,
          to_string(dtype), to_string(buffer.dtype()));
  require(buffer.device() == device.id(),
          "attention_step: {}: expected a buffer of the encoder's device {}, got another device's",
          name, device.name());
}

void check_shape(const char* name, const Buffer& buffer, const Shape& shape) {
  require(buffer.shape() == shape, "attention_step: {}: expected the shape {}, got {}", name, shape,
          buffer.shape());
}

void validate_tensors(const AttentionStepArgs& args, const Device& device) {
  const struct {
    const char* name;
    const Buffer* buffer;
  } inputs[] = {{"q", &args.q},           {"k", &args.k},           {"v", &args.v},
                {"q_norm", &args.q_norm}, {"k_norm", &args.k_norm}, {"rope", &args.rope}},
    written[] = {{"out", &args.out}, {"k_cache", &args.k_cache}, {"v_cache", &args.v_cache}};
  for (const auto& [name, buffer] : inputs) check_tensor(name, *buffer, DType::kF32, device);
  check_tensor("k_cache", args.k_cache, DType::kF16, device);
  check_tensor("v_cache", args.v_cache, DType::kF16, device);
  check_tensor("out", args.out, DType::kF32, device);

  require(args.q.shape().rank() == 2, "attention_step: q: expected [num_heads, head_dim], got {}",
          args.q.shape());
  require(args.k_cache.shape().rank() == 3,
          "attention_step: k_cache: expected [num_kv_heads, kv_capacity, head_dim], got {}",
          args.k_cache.shape());
  const uint64_t heads = args.q.shape()[0], head_dim = args.q.shape()[1],
                 kv_heads = args.k_cache.shape()[0], capacity = args.k_cache.shape()[1];
  head_dim_index(head_dim);
  require(kv_heads > 0 && kv_heads <= UINT32_MAX,
          "attention_step: k_cache: num_kv_heads must be at least 1, got {}", kv_heads);
  require(heads > 0 && heads <= UINT32_MAX && heads % kv_heads == 0,
          "attention_step: q: num_heads must be a multiple of num_kv_heads {}, got {}", kv_heads,
          heads);
  require(capacity > 0 && capacity <= INT32_MAX,
          "attention_step: k_cache: kv_capacity must be 1 to 2^31-1, got {}", capacity);
  check_shape("k_cache", args.k_cache, {kv_heads, capacity, head_dim});
  check_shape("v_cache", args.v_cache, args.k_cache.shape());
  check_shape("k", args.k, {kv_heads, head_dim});
  check_shape("v", args.v, {kv_heads, head_dim});
  check_shape("q_norm", args.q_norm, {head_dim});
  check_shape("k_norm", args.k_norm, {head_dim});
  check_shape("rope", args.rope, {1, 2, head_dim / 2});
  check_shape("out", args.out, args.q.shape());
  for (const auto& [name, buffer] :
       {std::pair{"k_cache", &args.k_cache}, std::pair{"v_cache", &args.v_cache}})
    require(buffer->byte_offset() % 16 == 0,
            "attention_step: {}: byte offset must be a multiple of 16, got {}", name,
            buffer->byte_offset());

  for (const auto& [name, buffer] : written) {
    for (const auto& [input, other] : inputs)
      require(!buffer->overlaps(*other), "attention_step: {}: must not overlap the input {}", name,
              input);
    require(!buffer->overlaps(args.params), "attention_step: {}: must not overlap the input params",
            name);
    for (const auto& [also, other] : written)
      require(buffer == other || !buffer->overlaps(*other),
              "attention_step: {}: must not overlap {}", name, also);
  }
}

void validate_numbers(const AttentionStepArgs& args, const Device& device) {
  const uint64_t capacity = args.k_cache.shape()[1];
  require(std::isfinite(args.eps) && args.eps > 0,
          "attention_step: eps: expected a positive finite number, got {}", args.eps);
  require(std::isfinite(args.scale), "attention_step: scale: must be finite, got {}", args.scale);
  require(args.mask <= AttnMask::kSlidingWindow,
          "attention_step: mask: must be 0 (none), 1 (causal) or 2 (sliding window), got {}",
          static_cast<uint32_t>(args.mask));
  require(args.mask != AttnMask::kSlidingWindow || args.sliding_window > 0,
          "attention_step: sliding_window: must be at least 1 with a sliding window mask, got 0");
  if (args.params) {
    check_tensor("params", args.params, DType::kU32, device);
    require(args.params.byte_len() == sizeof(FlashAttnVecParams),
            "attention_step: params: expected {} bytes, got {}", sizeof(FlashAttnVecParams),
            args.params.byte_len());
    return;
  }
  require(args.kv_seq_len > 0, "attention_step: kv_seq_len: must be at least 1, got 0");
  require(args.kv_seq_len <= capacity,
          "attention_step: kv_seq_len: must be at most kv_capacity {}, got {}", capacity,
          args.kv_seq_len);
  require(args.ring_start < capacity,
          "attention_step: ring_start: must be less than kv_capacity {}, got {}", capacity,
          args.ring_start);
  require(args.ring_start == 0 || args.kv_seq_len == capacity,
          "attention_step: ring_start: must be 0 until the ring is full (kv_seq_len {} of {}), "
          "got {}",
          args.kv_seq_len, capacity, args.ring_start);
}

// A simdgroup for each 1 << tile query heads of a KV head.
size_t metal_tile(uint32_t group_heads) {
  return group_heads % 4 == 0 ? 2 : group_heads % 2 == 0 ? 1 : 0;
}

// As flash_attn_vec's own choice: keys are split where one workgroup would take more than two
// steps.
void plan_metal(AttentionStepPlan& plan, uint32_t head_dim) {
  AttentionStepParams& p = plan.params;
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  plan.splits = p.kv_capacity > 2 * kFlashAttnVecBlock ? kFlashAttnVecWorkgroups : 1;
  plan.launch = {
      .grid = {1, p.num_kv_heads, plan.splits},
      .group = {(group_heads >> metal_tile(group_heads)) * 32},
      .shared_bytes = group_heads * (head_dim + kFlashAttnVecBlock) * uint32_t{sizeof(float)}};
  require(plan.launch.shared_bytes <= 32768 && plan.launch.group.x <= 1024,
          "attention_step: q: Metal's threadgroup memory holds {} heads a KV head, got {}",
          32768 / ((head_dim + kFlashAttnVecBlock) * sizeof(float)), group_heads);
  // A group that merges nothing still names a buffer there.
  plan.scratch_bytes = plan.splits > 1
                           ? flash_attn_vec_tmp_bytes(p.num_heads, head_dim, plan.splits)
                           : sizeof(float);
}

// Blocks see all query heads of a KV head, or chunks of them that fill the matrix units' columns.
CudaVariant cuda_variant(const AttentionStepParams& p, uint32_t head_dim,
                         const DeviceInfo& device) {
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  // A cluster serves a short cache best; it needs compute capability 9.
  constexpr uint32_t kClusterKeys = 1024;
  const bool cluster = p.kv_capacity <= kClusterKeys && !device.capability.starts_with("sm_8");
  // As many heads as shared memory has room for.
  const bool four = group_heads <= 4 || head_dim == 256,
             eight = group_heads <= 8 || head_dim == 128;
  return {head_dim,
          four    ? 4u
          : eight ? 8u
                  : 16u,
          cluster ? CudaForm::kCluster : CudaForm::kScratch};
}

// Of every head dim, and of every size of the groups, both forms that the device has.
const KernelListing kListing([](const Device& device) {
  for (const uint32_t head_dim : kHeadDims)
    for (const uint32_t group_heads : {4u, 8u, 16u})
      for (const uint32_t capacity : {512u, 32768u})
        kernels(device).cuda.get(
            cuda_variant(
                {.num_heads = group_heads, .num_kv_heads = 1, .kv_capacity = capacity, .eps = 0},
                head_dim, device.info()),
            define);
});

void plan_cuda(AttentionStepPlan& plan, uint32_t head_dim, const DeviceInfo& device) {
  const AttentionStepParams& p = plan.params;
  const CudaVariant variant = cuda_variant(p, head_dim, device);
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  const uint32_t rows = p.num_kv_heads * ((group_heads + variant.heads - 1) / variant.heads);
  const uint32_t threads = variant.key_groups() * (head_dim / 64) * 32;
  const uint32_t step_keys = variant.key_groups() * variant.tiles() * 16;
  if (variant.form == CudaForm::kCluster) {
    plan.splits = kCudaCluster;
  } else {
    // All blocks are resident at once, a block an SM: they wait for each other.
    const uint32_t sms = std::max(device.compute_units, 1u);
    const uint32_t most = std::max(std::min(sms, 128u) / rows, 1u);
    plan.splits = std::min(most, (p.kv_capacity + step_keys - 1) / step_keys);
    plan.scratch_bytes =
        size_t{rows} * plan.splits * variant.heads * (head_dim / 8) * 10 * sizeof(float);
  }
  plan.launch = {.grid = {plan.splits, rows},
                 .group = {threads},
                 .cooperative = variant.form == CudaForm::kScratch && plan.splits > 1,
                 .programmatic = true};
}

}  // namespace

AttentionStepPlan plan(const AttentionStepArgs& args, const Device& device) {
  validate_tensors(args, device);
  validate_numbers(args, device);
  const auto head_dim = static_cast<uint32_t>(args.q.shape()[1]);
  AttentionStepPlan plan{.params = {.num_heads = static_cast<uint32_t>(args.q.shape()[0]),
                                    .num_kv_heads = static_cast<uint32_t>(args.k_cache.shape()[0]),
                                    .kv_capacity = static_cast<uint32_t>(args.k_cache.shape()[1]),
                                    .eps = args.eps}};
  AttentionStepParams& p = plan.params;
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  switch (device.info().backend) {
    case BackendKind::kCpu:
      plan.splits = attention_parts(p.kv_capacity);
      plan.launch = {.grid = {plan.splits, p.num_kv_heads},
                     .shared_bytes = cpu::attention_step_shared_bytes(group_heads, head_dim)};
      plan.scratch_bytes =
          AttentionPartials{group_heads, p.num_kv_heads, head_dim, plan.splits}.floats() *
          sizeof(float);
      break;
    case BackendKind::kCuda:
      plan_cuda(plan, head_dim, device.info());
      break;
    case BackendKind::kMetal:
      plan_metal(plan, head_dim);
      break;
  }
  return plan;
}

void attention_step(CommandEncoder& encoder, const AttentionStepArgs& args) {
  const AttentionStepPlan how = plan(args, encoder.device());
  const size_t d = head_dim_index(args.q.shape()[1]);
  const FlashAttnVecParams params{.num_heads = how.params.num_heads,
                                  .num_kv_heads = how.params.num_kv_heads,
                                  .head_dim = kHeadDims[d],
                                  .kv_seq_len = args.kv_seq_len,
                                  .kv_capacity = how.params.kv_capacity,
                                  .scale = args.scale,
                                  .mask_type = static_cast<uint32_t>(args.mask),
                                  .sliding_window = args.sliding_window,
                                  .ring_start = args.ring_start};
  const Buffer scratch = how.scratch_bytes
                             ? encoder.scratch(DType::kF32, {how.scratch_bytes / sizeof(float)})
                             : Buffer{};
  constexpr uint64_t kNone = 0;
  const DeviceInfo& device = encoder.device().info();
  const Kernels& all = kernels(encoder.device());
  const bool on_metal = device.backend == BackendKind::kMetal;
  const size_t tile = on_metal ? metal_tile(how.params.num_heads / how.params.num_kv_heads) : 0;
  const Kernel kernel = device.backend == BackendKind::kCuda
                            ? all.cuda.get(cuda_variant(how.params, kHeadDims[d], device), define)
                            : all.step[tile][d];
  // Groups of a Metal grid cannot wait for each other, so the partial results are merged by a
  // second dispatch, and this one leaves out alone.
  const bool merges = on_metal && how.splits > 1;
  // Of the caches one slot is written.
  encoder.dispatch(
      kernel,
      {params_arg(params, args.params), reads(args.q), reads(args.k), reads(args.v),
       reads(args.q_norm), reads(args.k_norm), reads(args.rope), reads_writes(args.k_cache),
       reads_writes(args.v_cache), merges ? reads_writes(args.out) : writes(args.out),
       scratch ? reads_writes(scratch) : bytes(kNone), bytes(how.params)},
      how.launch);
  if (merges) flash_attn_vec_reduce(encoder, {.tmp = scratch, .out = args.out});
}

}  // namespace decant
