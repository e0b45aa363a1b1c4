#include "decant/ops/kv_append/kv_append.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/ops/kv_append/params.h"

namespace decant {

namespace cpu {
void kv_append(const CpuGroup& group);  // cpu.cc
}

namespace {

struct Kernels {
  Kernel kv_append;
};

const Kernels& kernels(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add(
        {.name = "kv_append_f16",
         .cpu = &cpu::kv_append,
         .cuda = {.source = "decant/ops/kv_append/kernels.cu", .entry = "kv_append"},
         .metal = {.source = "decant/ops/kv_append/kernels.metal", .entry = "kv_append_f16"}});
    return Kernels{.kv_append = registry.resolve("kv_append_f16")};
  });
}

const KernelListing kListing([](const Device& device) { kernels(device); });

void validate_tensors(const KvAppendArgs& args) {
  const auto check = [](const char* name, const Buffer& buffer, bool is_cache) {
    require(static_cast<bool>(buffer), "kv_append: {}: expected a buffer, got none", name);
    require(buffer.dtype() == DType::kF16 || (!is_cache && buffer.dtype() == DType::kF32),
            "kv_append: {}: dtype must be {}, got {}", name, is_cache ? "f16" : "f32 or f16",
            to_string(buffer.dtype()));
  };
  check("k", args.k, false);
  check("v", args.v, false);
  check("k_cache", args.k_cache, true);
  check("v_cache", args.v_cache, true);

  const Shape &k = args.k.shape(), &cache = args.k_cache.shape();
  require(k.rank() == 3 && args.k.elements() > 0 && k[0] <= UINT32_MAX &&
              k[0] * k[1] <= UINT32_MAX && k[2] <= UINT32_MAX,
          "kv_append: k: expected the shape [n, num_kv_heads, head_dim], got {}", k);
  require(args.v.shape() == k, "kv_append: v: expected the shape {} as k has, got {}", k,
          args.v.shape());
  require(cache.rank() == 3 && cache[0] == k[1] && cache[1] >= 1 && cache[1] <= UINT32_MAX &&
              cache[2] == k[2],
          "kv_append: k_cache: expected the shape [{}, kv_capacity, {}], got {}", k[1], k[2],
          cache);
  require(args.v_cache.shape() == cache,
          "kv_append: v_cache: expected the shape {} as k_cache has, got {}", cache,
          args.v_cache.shape());

  require(!args.k_cache.overlaps(args.v_cache), "kv_append: k_cache: must not overlap v_cache");
  for (const Buffer* input : {&args.k, &args.v, &args.position_buffer}) {
    require(!args.k_cache.overlaps(*input), "kv_append: k_cache: must not overlap an input");
    require(!args.v_cache.overlaps(*input), "kv_append: v_cache: must not overlap an input");
  }
}

void validate_position(const KvAppendArgs& args) {
  const uint64_t n = args.k.shape()[0], capacity = args.k_cache.shape()[1];
  if (args.position_buffer) {
    require(args.position_buffer.dtype() == DType::kU32 && args.position_buffer.elements() == 1,
            "kv_append: position_buffer: expected u32 [1], got {} {}",
            to_string(args.position_buffer.dtype()), args.position_buffer.shape());
    require(args.ring || n <= capacity,
            "kv_append: k: {} tokens do not fit a linear cache of {} slots", n, capacity);
    return;
  }
  require(args.position + n - 1 <= UINT32_MAX, "kv_append: position: {} and {} tokens pass 2^32",
          args.position, n);
  require(args.ring || args.position + n <= capacity,
          "kv_append: position: {} and {} tokens do not fit a linear cache of {} slots",
          args.position, n, capacity);
}

Launch plan(const KvAppendParams& params, const Device& device) {
  // A group a row.
  if (device.info().backend == BackendKind::kMetal)
    return {.grid = {params.rows},
            .group = {std::clamp((params.head_dim + 31) / 32 * 32, 32u, 256u)}};
  return {.grid = {(params.rows - 1) / kv_append_group_rows(params.head_dim) + 1}, .group = {256}};
}

}  // namespace

void kv_append(CommandEncoder& encoder, const KvAppendArgs& args) {
  validate_tensors(args);
  validate_position(args);
  const Shape& k = args.k.shape();
  const uint64_t capacity = args.k_cache.shape()[1];
  const uint64_t first = k[0] > capacity ? k[0] - capacity : 0;
  const KvAppendParams params{.first_token = static_cast<uint32_t>(first),
                              .rows = static_cast<uint32_t>((k[0] - first) * k[1]),
                              .num_kv_heads = static_cast<uint32_t>(k[1]),
                              .head_dim = static_cast<uint32_t>(k[2]),
                              .kv_capacity = static_cast<uint32_t>(capacity),
                              .ring = args.ring,
                              .k_is_f16 = args.k.dtype() == DType::kF16,
                              .v_is_f16 = args.v.dtype() == DType::kF16};
  // The caches are read and written, as far as hazards go: most of their slots stay.
  encoder.dispatch(kernels(encoder.device()).kv_append,
                   {bytes(params), params_arg(args.position, args.position_buffer), reads(args.k),
                    reads(args.v), reads_writes(args.k_cache), reads_writes(args.v_cache)},
                   plan(params, encoder.device()));
}

}  // namespace decant
