#include "decant/ops/flash_attn_prefill/flash_attn_prefill.h"

#include <cmath>

#include "decant/core/error.h"
#include "decant/core/kernel_variants.h"
#include "decant/ops/flash_attn_prefill/cpu_tile.h"
#include "decant/ops/flash_attn_prefill/params.h"

namespace decant {

namespace cpu {
void flash_attn_prefill(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel prefill;
  KernelVariants<uint32_t> cuda;  // by head dim
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "flash_attn_prefill_f16",
                  .kind = OpKind::kSdpa,
                  .cpu = &cpu::flash_attn_prefill,
                  .metal = {.source = "decant/ops/flash_attn_prefill/kernels.metal",
                            .entry = "flash_attn_prefill_f16"}});
    return Kernels{registry.resolve("flash_attn_prefill_f16"), KernelVariants<uint32_t>(registry)};
  });
}

KernelDef define_cuda(uint32_t head_dim) {
  return {.name = fmt::format("flash_attn_prefill_f16_dk{0}_dv{0}", head_dim),
          .kind = OpKind::kSdpa,
          .cuda = {.source = "decant/ops/flash_attn_prefill/kernels.cu",
                   .entry = "flash_attn_prefill",
                   .constants = {{"DECANT_HEAD_DIM", head_dim}}}};
}

const KernelListing kListing([](const Device& device) {
  for (const uint32_t head_dim : {32u, 64u, 128u, 256u})
    kernels(device).cuda.get(head_dim, define_cuda);
});

bool has_cache(const FlashAttnPrefillArgs& args) {
  return args.kv_seq_len > 0 || args.k_cache || args.v_cache;
}

void check_buffer(const Device& device, const char* name, const Buffer& buffer, DType dtype) {
  require(static_cast<bool>(buffer), "flash_attn_prefill: {}: expected a buffer, got none", name);
  require(buffer.dtype() == dtype, "flash_attn_prefill: {}: dtype must be {}, got {}", name,
          to_string(dtype), to_string(buffer.dtype()));
  require(buffer.shape().rank() == 3, "flash_attn_prefill: {}: expected 3 dimensions, got shape {}",
          name, buffer.shape());
  require(buffer.device() == device.id(),
          "flash_attn_prefill: {}: must belong to the encoder's device {}, got another device's",
          name, device.name());
  require(dtype != DType::kF16 || buffer.byte_offset() % 16 == 0,
          "flash_attn_prefill: {}: byte offset must be a multiple of 16, got {}", name,
          buffer.byte_offset());
}

void check_shape(const char* name, const Buffer& buffer, const Shape& expected) {
  require(buffer.shape() == expected, "flash_attn_prefill: {}: shape must be {}, got {}", name,
          expected, buffer.shape());
}

void validate(const Device& device, const FlashAttnPrefillArgs& args) {
  check_buffer(device, "q", args.q, DType::kF32);
  check_buffer(device, "k_new", args.k_new, DType::kF16);
  check_buffer(device, "v_new", args.v_new, DType::kF16);
  check_buffer(device, "out", args.out, DType::kF32);

  const Shape& q = args.q.shape();
  const uint64_t n = q[0], num_heads = q[1], head_dim = q[2], num_kv_heads = args.k_new.shape()[1];
  require(n > 0, "flash_attn_prefill: q: expected at least 1 token, got shape {}", q);
  require(num_heads > 0, "flash_attn_prefill: q: num_heads must not be 0, got shape {}", q);
  require(num_kv_heads > 0, "flash_attn_prefill: k_new: num_kv_heads must not be 0, got shape {}",
          args.k_new.shape());
  require(num_heads % num_kv_heads == 0,
          "flash_attn_prefill: q: num_heads must be a multiple of num_kv_heads {}, got {}",
          num_kv_heads, num_heads);
  require(head_dim > 0 && head_dim % 16 == 0 && head_dim <= kFlashAttnPrefillMaxHeadDim,
          "flash_attn_prefill: q: head_dim must be a multiple of 16 from 16 to {}, got {}",
          kFlashAttnPrefillMaxHeadDim, head_dim);
  check_shape("k_new", args.k_new, {n, num_kv_heads, head_dim});
  check_shape("v_new", args.v_new, {n, num_kv_heads, head_dim});
  check_shape("out", args.out, q);
  require(n * num_heads <= UINT32_MAX && n + args.kv_seq_len <= INT32_MAX,
          "flash_attn_prefill: q: {} tokens after {} older ones are too many for 32-bit indices", n,
          args.kv_seq_len);

  if (has_cache(args)) {
    check_buffer(device, "k_cache", args.k_cache, DType::kF16);
    check_buffer(device, "v_cache", args.v_cache, DType::kF16);
    const uint64_t kv_capacity = args.k_cache.shape()[1];
    check_shape("k_cache", args.k_cache, {num_kv_heads, kv_capacity, head_dim});
    check_shape("v_cache", args.v_cache, {num_kv_heads, kv_capacity, head_dim});
    require(kv_capacity <= INT32_MAX, "flash_attn_prefill: k_cache: kv_capacity {} is above 2^31-1",
            kv_capacity);
    require(args.kv_seq_len <= kv_capacity,
            "flash_attn_prefill: kv_seq_len: must be at most kv_capacity {}, got {}", kv_capacity,
            args.kv_seq_len);
    require(args.ring_start == 0 || args.ring_start < kv_capacity,
            "flash_attn_prefill: ring_start: must be less than kv_capacity {}, got {}", kv_capacity,
            args.ring_start);
    require(args.ring_start == 0 || args.kv_seq_len == kv_capacity,
            "flash_attn_prefill: ring_start: must be 0 until the cache is full ({} of {} slots), "
            "got {}",
            args.kv_seq_len, kv_capacity, args.ring_start);
  } else {
    require(args.ring_start == 0,
            "flash_attn_prefill: ring_start: must be 0 without a cache, got {}", args.ring_start);
  }

  require(std::isfinite(args.scale), "flash_attn_prefill: scale: must be finite, got {}",
          args.scale);
  require(args.mask <= AttnMask::kSlidingWindow,
          "flash_attn_prefill: mask: must be 0 (none), 1 (causal) or 2 (sliding window), got {}",
          static_cast<uint32_t>(args.mask));
  require(args.mask != AttnMask::kSlidingWindow || args.sliding_window > 0,
          "flash_attn_prefill: sliding_window: must be at least 1 with a sliding window mask, "
          "got 0");

  const auto check_apart = [&](const char* name, const Buffer& input) {
    require(!args.out.overlaps(input), "flash_attn_prefill: out: must not overlap {}", name);
  };
  check_apart("q", args.q);
  check_apart("k_new", args.k_new);
  check_apart("v_new", args.v_new);
  if (has_cache(args)) {
    check_apart("k_cache", args.k_cache);
    check_apart("v_cache", args.v_cache);
  }
}

Launch plan(const FlashAttnPrefillParams& params, const DeviceInfo& device) {
  const uint64_t rows = uint64_t{params.num_new} * (params.num_heads / params.num_kv_heads);
  if (device.backend == BackendKind::kMetal) {
    constexpr uint32_t kRows = kFlashAttnPrefillMetalRows;
    return {.grid = {static_cast<uint32_t>((rows + kRows - 1) / kRows), params.num_kv_heads},
            .group = {32},
            .shared_bytes = kRows * (params.head_dim + 32) * 4};  // queries, weights
  }
  if (device.backend == BackendKind::kCuda) {
    const uint32_t dim = params.head_dim;
    require(dim % 32 == 0,
            "flash_attn_prefill: q: head_dim must be a multiple of 32 on CUDA, got {}", dim);
    // kernels.cu: Shared.
    const uint32_t shared = 2 * 64 * (dim + 32) * 2 + 64 * 4 + 2 * 32 * (dim + 32 + dim + 8) * 2;
    return {.grid = {static_cast<uint32_t>((rows + 63) / 64), params.num_kv_heads},
            .group = {128},
            .shared_bytes = shared,
            .programmatic = true};
  }
  const size_t scratch = prefill::tile_scratch(params.head_dim).total * sizeof(float);
  return {.grid = {static_cast<uint32_t>((rows + prefill::kTileRows - 1) / prefill::kTileRows),
                   params.num_kv_heads},
          .shared_bytes = static_cast<uint32_t>(scratch)};
}

}  // namespace

void flash_attn_prefill(CommandEncoder& encoder, const FlashAttnPrefillArgs& args) {
  validate(encoder.device(), args);
  const bool cached = has_cache(args);
  const FlashAttnPrefillParams params{
      .num_heads = static_cast<uint32_t>(args.q.shape()[1]),
      .num_kv_heads = static_cast<uint32_t>(args.k_new.shape()[1]),
      .head_dim = static_cast<uint32_t>(args.q.shape()[2]),
      .kv_seq_len = args.kv_seq_len,
      .kv_capacity = cached ? static_cast<uint32_t>(args.k_cache.shape()[1]) : 0,
      .scale = args.scale,
      .mask_type = static_cast<uint32_t>(args.mask),
      .sliding_window = args.sliding_window,
      .ring_start = args.ring_start,
      .num_new = static_cast<uint32_t>(args.q.shape()[0])};
  // Without older keys no slot of the cache is read, and any buffer may stand in its place.
  const bool older = args.kv_seq_len > 0;
  const Device& device = encoder.device();
  const Kernels& all = kernels(device);
  encoder.dispatch(device.info().backend == BackendKind::kCuda
                       ? all.cuda.get(params.head_dim, define_cuda)
                       : all.prefill,
                   {bytes(params), reads(args.q), reads(args.k_new), reads(args.v_new),
                    reads(older ? args.k_cache : args.k_new),
                    reads(older ? args.v_cache : args.v_new), writes(args.out)},
                   plan(params, device.info()));
}

}  // namespace decant
