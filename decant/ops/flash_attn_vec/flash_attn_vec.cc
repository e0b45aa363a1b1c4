#include "decant/ops/flash_attn_vec/flash_attn_vec.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/kernels/attention_split.h"
#include "decant/ops/flash_attn_vec/cpu.h"
#include "decant/ops/flash_attn_vec/cuda.h"

namespace decant {
namespace {

constexpr uint32_t kHeadDims[] = {64, 128, 256};
constexpr const char* kMetalSource = "decant/ops/flash_attn_vec/kernels.metal";

// Query heads of one KV head that a Metal workgroup computes: 1 << index.
constexpr size_t kMetalHeadTiles = 3;
constexpr const char* kMetalTileNames[kMetalHeadTiles] = {"", "_h2", "_h4"};
constexpr uint32_t kMetalReduceThreads = 1024;  // the contract's

struct Kernels {
  // By head dim.
  Kernel one[3];
  Kernel nwg32[3];
  Kernel split[3];  // the CPU's
  Kernel reduce[3];
  std::vector<Kernel> cuda[3];  // the planner's choice, as cuda::attn_variants has them
  // By tile, then head dim; the first are those above.
  Kernel metal_one[kMetalHeadTiles][3];
  Kernel metal_nwg32[kMetalHeadTiles][3];
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([&](KernelRegistry& registry) {
    Kernels made;
    const auto add = [&](const std::string& name, CpuKernel cpu, GpuKernel cuda, bool metal) {
      registry.add(
          {.name = name,
           .kind = OpKind::kSdpa,
           .cpu = cpu,
           .cuda = std::move(cuda),
           .metal = metal ? GpuKernel{.source = kMetalSource, .entry = name} : GpuKernel{}});
      return registry.resolve(name);
    };
    for (size_t i = 0; i < 3; ++i) {
      const uint32_t d = kHeadDims[i];
      const auto vec_name = [&](const std::string& form) {
        return fmt::format("flash_attn_vec_f16{}_dk{}_dv{}", form, d, d);
      };
      made.one[i] = add(vec_name(""), cpu::flash_attn_vec_one(d),
                        cuda::attn_kernel(cuda::kAttnOne, d, "flash_attn_vec"), true);
      made.nwg32[i] = add(vec_name("_nwg32"), cpu::flash_attn_vec_nwg32(d),
                          cuda::attn_kernel(cuda::kAttnNwg32, d, "flash_attn_vec"), true);
      made.split[i] = add(vec_name("_split"), cpu::flash_attn_vec_split(d), {}, false);
      made.reduce[i] =
          add(fmt::format("flash_attn_vec_reduce_dv{}_nwg32", d), cpu::flash_attn_vec_reduce(d),
              cuda::attn_kernel(cuda::kAttnNwg32, d, "flash_attn_vec_reduce"), true);
      made.metal_one[0][i] = made.one[i];
      made.metal_nwg32[0][i] = made.nwg32[i];
      for (size_t tile = 1; tile < kMetalHeadTiles; ++tile) {
        const std::string heads = kMetalTileNames[tile];
        made.metal_one[tile][i] = add(vec_name(heads), nullptr, {}, true);
        made.metal_nwg32[tile][i] = add(vec_name("_nwg32" + heads), nullptr, {}, true);
      }
      if (device.info().backend != BackendKind::kCuda) continue;
      for (const cuda::AttnVariant& v : cuda::attn_variants(device.info()))
        made.cuda[i].push_back(
            add(cuda::name_of(v, d), nullptr, cuda::attn_kernel(v, d, "flash_attn_vec"), false));
    }
    return made;
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

size_t head_dim_index(uint64_t head_dim) {
  for (size_t i = 0; i < 3; ++i)
    if (kHeadDims[i] == head_dim) return i;
  fail(ErrorKind::kInvalidArgument, "flash_attn_vec: q: head_dim must be 64, 128 or 256, got {}",
       head_dim);
}

void check_tensor(const char* name, const Buffer& buffer, DType dtype, size_t rank,
                  const Device& device) {
  require(static_cast<bool>(buffer), "flash_attn_vec: {}: expected a buffer, got none", name);
  require(buffer.dtype() == dtype, "flash_attn_vec: {}: dtype must be {}, got {}", name,
          to_string(dtype), to_string(buffer.dtype()));
  require(buffer.shape().rank() == rank, "flash_attn_vec: {}: expected {} axes, got {}", name, rank,
          buffer.shape());
  require(buffer.device() == device.id(),
          "flash_attn_vec: {}: expected a buffer of the encoder's device {}, got another device's",
          name, device.name());
}

void check_no_overlap(const char* name, const Buffer& written, const FlashAttnVecArgs& args) {
  const std::pair<const char*, const Buffer*> inputs[] = {
      {"q", &args.q}, {"k", &args.k}, {"v", &args.v}, {"params", &args.params}};
  for (const auto& [input, buffer] : inputs)
    require(!written.overlaps(*buffer), "flash_attn_vec: {}: must not overlap the input {}", name,
            input);
}

FlashAttnVecParams params_of(const FlashAttnVecArgs& args) {
  return {.num_heads = static_cast<uint32_t>(args.q.shape()[0]),
          .num_kv_heads = static_cast<uint32_t>(args.k.shape()[0]),
          .head_dim = static_cast<uint32_t>(args.q.shape()[1]),
          .kv_seq_len = args.kv_seq_len,
          .kv_capacity = static_cast<uint32_t>(args.k.shape()[1]),
          .scale = args.scale,
          .mask_type = static_cast<uint32_t>(args.mask),
          .sliding_window = args.sliding_window,
          .ring_start = args.ring_start};
}

void validate(const FlashAttnVecArgs& args, const Device& device) {
  check_tensor("q", args.q, DType::kF32, 2, device);
  check_tensor("k", args.k, DType::kF16, 3, device);
  check_tensor("v", args.v, args.k.dtype(), 3, device);
  check_tensor("out", args.out, DType::kF32, 2, device);

  const uint64_t heads = args.q.shape()[0], kv_heads = args.k.shape()[0],
                 head_dim = args.q.shape()[1], capacity = args.k.shape()[1];
  head_dim_index(head_dim);
  require(heads > 0 && heads <= UINT32_MAX,
          "flash_attn_vec: q: num_heads must be at least 1, got {}", heads);
  require(kv_heads > 0 && kv_heads <= UINT32_MAX,
          "flash_attn_vec: k: num_kv_heads must be at least 1, got {}", kv_heads);
  require(heads % kv_heads == 0,
          "flash_attn_vec: q: num_heads must be a multiple of num_kv_heads {}, got {}", kv_heads,
          heads);
  require(args.k.shape()[2] == head_dim, "flash_attn_vec: k: head_dim must be q's {}, got {}",
          head_dim, args.k.shape()[2]);
  require(args.v.shape() == args.k.shape(), "flash_attn_vec: v: shape must be k's {}, got {}",
          args.k.shape(), args.v.shape());
  require(args.out.shape() == args.q.shape(), "flash_attn_vec: out: shape must be q's {}, got {}",
          args.q.shape(), args.out.shape());
  require(capacity > 0 && capacity <= INT32_MAX,
          "flash_attn_vec: k: kv_capacity must be 1 to 2^31-1, got {}", capacity);
  for (const auto& [name, buffer] : {std::pair{"k", &args.k}, std::pair{"v", &args.v}})
    require(buffer->byte_offset() % 16 == 0,
            "flash_attn_vec: {}: byte offset must be a multiple of 16, got {}", name,
            buffer->byte_offset());

  require(std::isfinite(args.scale), "flash_attn_vec: scale: must be finite, got {}", args.scale);
  require(args.mask <= AttnMask::kSlidingWindow,
          "flash_attn_vec: mask: must be 0 (none), 1 (causal) or 2 (sliding window), got {}",
          static_cast<uint32_t>(args.mask));
  require(args.mask != AttnMask::kSlidingWindow || args.sliding_window > 0,
          "flash_attn_vec: sliding_window: must be at least 1 with a sliding window mask, got 0");
  if (args.params) {
    check_tensor("params", args.params, DType::kU32, 1, device);
    require(args.params.byte_len() == sizeof(FlashAttnVecParams),
            "flash_attn_vec: params: expected {} bytes, got {}", sizeof(FlashAttnVecParams),
            args.params.byte_len());
  } else {
    require(args.kv_seq_len > 0, "flash_attn_vec: kv_seq_len: must be at least 1, got 0");
    require(args.kv_seq_len <= capacity,
            "flash_attn_vec: kv_seq_len: must be at most kv_capacity {}, got {}", capacity,
            args.kv_seq_len);
    require(args.ring_start < capacity,
            "flash_attn_vec: ring_start: must be less than kv_capacity {}, got {}", capacity,
            args.ring_start);
    require(args.ring_start == 0 || args.kv_seq_len == capacity,
            "flash_attn_vec: ring_start: must be 0 until the ring is full (kv_seq_len {} of {}), "
            "got {}",
            args.kv_seq_len, capacity, args.ring_start);
  }

  const uint32_t nwg = args.workgroups_per_head;
  require(nwg == 0 || nwg == 1 || nwg == kFlashAttnVecWorkgroups,
          "flash_attn_vec: workgroups_per_head: must be 0, 1 or 32, got {}", nwg);
  const size_t tmp_bytes =
      flash_attn_vec_tmp_bytes(static_cast<uint32_t>(heads), static_cast<uint32_t>(head_dim), nwg);
  if (tmp_bytes > 0) {
    require(static_cast<bool>(args.tmp), "flash_attn_vec: tmp: needs {} bytes, got none",
            tmp_bytes);
    check_tensor("tmp", args.tmp, DType::kF32, args.tmp.shape().rank(), device);
    require(args.tmp.byte_len() >= tmp_bytes, "flash_attn_vec: tmp: needs {} bytes, got {}",
            tmp_bytes, args.tmp.byte_len());
    check_no_overlap("tmp", args.tmp, args);
    require(!args.tmp.overlaps(args.out), "flash_attn_vec: tmp: must not overlap out");
  }
  check_no_overlap("out", args.out, args);
}

// The launch shapes of the base contract: one simdgroup a workgroup, 1,792 bytes at head_dim 256.
// The planner's own choice reads K and V once for several heads, and splits the keys as the
// 32-workgroup form does where one workgroup would take more than two steps.
void plan_metal(const FlashAttnVecParams& p, const Device& device, FlashAttnVecPlan& plan) {
  constexpr uint32_t kMany = kFlashAttnVecWorkgroups;
  const bool chooses = plan.workgroups_per_head == 0;
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  plan.splits = plan.workgroups_per_head;
  size_t tile = 0;
  if (chooses) {
    while (tile + 1 < kMetalHeadTiles && group_heads % (2u << tile) == 0) ++tile;
    plan.splits = p.kv_capacity > 2 * kFlashAttnVecBlock ? kMany : 1;
    plan.scratch_bytes = flash_attn_vec_tmp_bytes(p.num_heads, p.head_dim, plan.splits);
  }
  const Kernels& all = kernels(device);
  const size_t d = head_dim_index(p.head_dim);
  plan.kernel = (plan.splits > 1 ? all.metal_nwg32 : all.metal_one)[tile][d];
  const uint32_t heads = 1u << tile, padded = (p.head_dim + 127) / 128 * 128;
  plan.launch = {.grid = {1, p.num_heads / heads, plan.splits},
                 .group = {32},
                 // Halfs: pad(D, 128) + 128 + 2 pad(D, 128); with more heads what they use.
                 .shared_bytes = chooses ? heads * (p.head_dim + kFlashAttnVecBlock) * 4
                                         : (3 * padded + 4 * 32) * 2};
}

}  // namespace

size_t flash_attn_vec_tmp_bytes(uint32_t num_heads, uint32_t head_dim,
                                uint32_t workgroups_per_head) {
  if (workgroups_per_head != kFlashAttnVecWorkgroups) return 0;
  return checked_mul(uint64_t{num_heads} * kFlashAttnVecWorkgroups, (uint64_t{head_dim} + 2) * 4,
                     "flash_attn_vec: tmp");
}

FlashAttnVecPlan plan(const FlashAttnVecArgs& args, const Device& device) {
  validate(args, device);
  const FlashAttnVecParams p = params_of(args);
  const Kernels& all = kernels(device);
  const size_t d = head_dim_index(p.head_dim);
  const uint32_t workgroups = args.workgroups_per_head;
  FlashAttnVecPlan plan{.workgroups_per_head = workgroups,
                        .kernel = workgroups == 1 ? all.one[d] : all.nwg32[d],
                        .tmp_bytes = flash_attn_vec_tmp_bytes(p.num_heads, p.head_dim, workgroups)};
  if (device.info().backend == BackendKind::kMetal) {
    plan_metal(p, device, plan);
    return plan;
  }
  if (device.info().backend == BackendKind::kCuda) {
    const cuda::AttnPlan cuda = cuda::plan_attn(p, workgroups, device.info());
    if (workgroups == 0) {
      plan.kernel = all.cuda[d][cuda.variant];
      plan.splits = cuda.launch.grid.x;
    }
    plan.launch = cuda.launch;
    plan.scratch_bytes = cuda.scratch_bytes;
    plan.cuda = cuda.shape;
    return plan;
  }
  plan.launch.shared_bytes =
      cpu::flash_attn_vec_shared_bytes(p.num_heads / p.num_kv_heads, p.head_dim);
  if (workgroups == 1) {
    plan.launch.grid = {p.num_kv_heads};
  } else if (workgroups == kFlashAttnVecWorkgroups) {
    plan.launch.grid = {p.num_kv_heads, kFlashAttnVecWorkgroups};
  } else {
    plan.kernel = all.split[d];
    plan.splits = attention_parts(p.kv_capacity);
    // The parts of one KV head follow each other, as their keys do in memory.
    plan.launch.grid = {plan.splits, p.num_kv_heads};
    plan.scratch_bytes =
        cpu::flash_attn_vec_scratch_bytes(p.num_heads, p.num_kv_heads, p.head_dim, plan.splits);
  }
  return plan;
}

void flash_attn_vec(CommandEncoder& encoder, const FlashAttnVecArgs& args) {
  const FlashAttnVecPlan how = plan(args, encoder.device());
  const FlashAttnVecParams params = params_of(args);
  const bool nwg32 = how.workgroups_per_head == kFlashAttnVecWorkgroups;
  const Buffer out = nwg32 ? args.tmp.slice(0, {how.tmp_bytes / sizeof(float)}) : args.out;
  const BackendKind backend = encoder.device().info().backend;
  const Buffer scratch = !how.scratch_bytes ? Buffer{}
                         : backend == BackendKind::kCuda
                             ? encoder.zeroed_scratch(how.scratch_bytes)
                             : encoder.scratch(DType::kF32, {how.scratch_bytes / sizeof(float)});
  const KernelArg slot0 = params_arg(params, args.params);
  constexpr uint64_t kNone = 0;  // a pointer
  if (backend == BackendKind::kMetal) {
    const Buffer& to = scratch ? scratch : out;
    const FlashAttnVecSizes sizes{.num_kv_heads = params.num_kv_heads,
                                  .kv_capacity = params.kv_capacity};
    encoder.dispatch(how.kernel,
                     {slot0, reads(args.q), reads(args.k), reads(args.v), writes(to), bytes(sizes)},
                     how.launch);
    if (scratch) flash_attn_vec_reduce(encoder, {.tmp = scratch, .out = args.out});
  } else if (backend == BackendKind::kCuda) {
    encoder.dispatch(how.kernel,
                     {slot0, reads(args.q), reads(args.k), reads(args.v), writes(out),
                      bytes(how.cuda), scratch ? reads_writes(scratch) : bytes(kNone)},
                     how.launch);
  } else if (scratch) {
    encoder.dispatch(
        how.kernel,
        {slot0, reads(args.q), reads(args.k), reads(args.v), writes(out), reads_writes(scratch)},
        how.launch);
  } else {
    encoder.dispatch(how.kernel, {slot0, reads(args.q), reads(args.k), reads(args.v), writes(out)},
                     how.launch);
  }
  if (nwg32) flash_attn_vec_reduce(encoder, {.tmp = out, .out = args.out});
}

void flash_attn_vec_reduce(CommandEncoder& encoder, const FlashAttnVecReduceArgs& args) {
  const Device& device = encoder.device();
  check_tensor("reduce: out", args.out, DType::kF32, 2, device);
  check_tensor("reduce: tmp", args.tmp, DType::kF32, args.tmp.shape().rank(), device);
  const size_t d = head_dim_index(args.out.shape()[1]);
  const uint64_t rows = args.out.shape()[0];
  require(rows > 0 && rows <= INT32_MAX,
          "flash_attn_vec: reduce: out: expected 1 to 2^31-1 rows, got {}", rows);
  const size_t tmp_bytes =
      flash_attn_vec_tmp_bytes(static_cast<uint32_t>(rows), kHeadDims[d], kFlashAttnVecWorkgroups);
  require(args.tmp.byte_len() >= tmp_bytes, "flash_attn_vec: reduce: tmp: needs {} bytes, got {}",
          tmp_bytes, args.tmp.byte_len());
  require(!args.out.overlaps(args.tmp), "flash_attn_vec: reduce: out: must not overlap tmp");
  const FlashAttnVecReduceParams params{.nrows = static_cast<int32_t>(rows)};
  const bool metal = device.info().backend == BackendKind::kMetal;
  encoder.dispatch(kernels(device).reduce[d], {bytes(params), reads(args.tmp), writes(args.out)},
                   {.grid = {static_cast<uint32_t>(rows)},
                    .group = {metal ? kMetalReduceThreads : cuda::kAttnReduceThreads}});
}

}  // namespace decant
