#include "decant/ops/flash_attn_vec/flash_attn_vec.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/flash_attn_vec/cpu.h"

namespace decant {
namespace {

constexpr uint32_t kHeadDims[] = {64, 128, 256};

struct Kernels {
  Kernel one[3];  // by head dim
  Kernel nwg32[3];
  Kernel split[3];
  Kernel reduce[3];
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    Kernels made;
    const auto add = [&](const std::string& name, OpKind kind, CpuKernel cpu) {
      registry.add({.name = name, .kind = kind, .cpu = cpu});
      return registry.resolve(name);
    };
    for (size_t i = 0; i < 3; ++i) {
      const uint32_t d = kHeadDims[i];
      const auto vec_name = [&](const char* form) {
        return fmt::format("flash_attn_vec_f16{}_dk{}_dv{}", form, d, d);
      };
      made.one[i] = add(vec_name(""), OpKind::kSdpa, cpu::flash_attn_vec_one(d));
      made.nwg32[i] = add(vec_name("_nwg32"), OpKind::kSdpa, cpu::flash_attn_vec_nwg32(d));
      made.split[i] = add(vec_name("_split"), OpKind::kSdpa, cpu::flash_attn_vec_split(d));
      made.reduce[i] = add(fmt::format("flash_attn_vec_reduce_dv{}_nwg32", d), OpKind::kSdpa,
                           cpu::flash_attn_vec_reduce(d));
    }
    return made;
  });
}

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
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  FlashAttnVecPlan plan{.workgroups_per_head = args.workgroups_per_head};
  plan.launch.shared_bytes = cpu::flash_attn_vec_shared_bytes(group_heads, p.head_dim);
  if (args.workgroups_per_head == 1) {
    plan.launch.grid = {p.num_kv_heads};
  } else if (args.workgroups_per_head == kFlashAttnVecWorkgroups) {
    plan.launch.grid = {p.num_kv_heads, kFlashAttnVecWorkgroups};
    plan.tmp_bytes = flash_attn_vec_tmp_bytes(p.num_heads, p.head_dim, kFlashAttnVecWorkgroups);
  } else {
    // Enough splits to occupy many threads, each long enough (64 to 512 slots) that merging its
    // partial result costs a few per cent of reading its keys.
    plan.split_keys = p.kv_capacity <= 1024 ? 64 : p.kv_capacity <= 8192 ? 256 : 512;
    plan.splits = (p.kv_capacity + plan.split_keys - 1) / plan.split_keys;
    plan.launch.grid = {p.num_kv_heads, plan.splits};
    plan.scratch_bytes =
        cpu::flash_attn_vec_scratch_bytes(p.num_heads, p.num_kv_heads, p.head_dim, plan.splits);
  }
  return plan;
}

void flash_attn_vec(CommandEncoder& encoder, const FlashAttnVecArgs& args) {
  const FlashAttnVecPlan how = plan(args, encoder.device());
  const FlashAttnVecParams params = params_of(args);
  const Kernels& all = kernels(encoder.device());
  const size_t d = head_dim_index(params.head_dim);
  const KernelArg slot0 = params_arg(params, args.params);

  if (how.workgroups_per_head == 1) {
    encoder.dispatch(all.one[d],
                     {slot0, reads(args.q), reads(args.k), reads(args.v), writes(args.out)},
                     how.launch);
  } else if (how.workgroups_per_head == kFlashAttnVecWorkgroups) {
    const Buffer tmp = args.tmp.slice(0, {how.tmp_bytes / sizeof(float)});
    encoder.dispatch(all.nwg32[d],
                     {slot0, reads(args.q), reads(args.k), reads(args.v), writes(tmp)}, how.launch);
    flash_attn_vec_reduce(encoder, {.tmp = tmp, .out = args.out});
  } else {
    const Buffer scratch = encoder.scratch(DType::kF32, {how.scratch_bytes / sizeof(float)});
    const uint32_t split_keys = how.split_keys;
    encoder.dispatch(all.split[d],
                     {slot0, reads(args.q), reads(args.k), reads(args.v), writes(args.out),
                      reads_writes(scratch), bytes(split_keys)},
                     how.launch);
  }
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
  encoder.dispatch(kernels(device).reduce[d], {bytes(params), reads(args.tmp), writes(args.out)},
                   {.grid = {static_cast<uint32_t>(rows)}});
}

}  // namespace decant
