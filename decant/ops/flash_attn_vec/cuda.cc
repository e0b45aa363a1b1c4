#include "decant/ops/flash_attn_vec/cuda.h"

#include <fmt/core.h>

#include <algorithm>
#include <string>

#include "decant/core/error.h"

namespace decant::cuda {
namespace {

constexpr uint32_t kStripDims = 64, kTileKeys = 16;  // of a warp

// Scratch: in general, with few keys a block, with many. A cluster of 16 is beyond what every GPU
// grants.
constexpr AttnVariant kVariants[] = {
    {AttnForm::kScratch, 4, 16, 1, 1, 1}, {AttnForm::kScratch, 8, 16, 1, 1, 1},
    {AttnForm::kScratch, 4, 8, 1, 1, 2},  {AttnForm::kScratch, 8, 8, 1, 1, 2},
    {AttnForm::kScratch, 4, 8, 2, 1, 1},  {AttnForm::kCluster, 4, 8, 1, 8, 2},
    {AttnForm::kCluster, 8, 8, 2, 8, 1},  {AttnForm::kCluster, 4, 8, 1, 16, 2},
};
constexpr size_t kScratchOf4 = 0, kShortOf4 = 2, kLong = 4, kClusterOf4 = 5, kLargeCluster = 7;
constexpr size_t kNoClusters = 5;  // how many variants come before the first cluster

// 90 of "sm_90".
int capability(const DeviceInfo& device) { return std::stoi(device.capability.substr(3)); }
bool has_clusters(const DeviceInfo& device) { return capability(device) >= 90; }
bool has_large_clusters(const DeviceInfo& device) {
  return capability(device) >= 90 && capability(device) < 110;
}

// Key groups of a block: sets of warps, one for each strip of the head dim.
uint32_t key_groups(const AttnVariant& v, uint32_t head_dim) {
  return v.strip_groups * kStripDims / head_dim;
}

// Clusters are for caches so short that few blocks fetch them at once; of 16 blocks, or of 8 for
// more rows.
constexpr uint32_t kLargeClusterKeys = 1024, kLargeClusterRows = 4;
constexpr uint32_t kClusterKeys = 512, kClusterRows = 16;
// A block that merges through scratch has so few keys, or values, that half the warps ask for them
// in two turns at most: then the next launch's blocks fit beside those of the one that ends.
constexpr uint32_t kShortElements = 2 * 8 * kTileKeys * kStripDims;
// It has so many that half the warps with two tiles each read faster.
constexpr uint32_t kLongElements = 4096 * 256;

// Blocks of a row that merge through scratch: an SM each, so that those which wait for others do
// not keep them out, and at least one tile of keys. Multiples of 8 fill the warps that merge.
uint32_t scratch_parts(uint32_t kv_capacity, uint32_t rows, const DeviceInfo& device) {
  uint32_t parts = std::max(device.compute_units / rows, 1u);
  if (parts > 16) parts -= parts % 8;
  return std::min(parts, (kv_capacity + kTileKeys - 1) / kTileKeys);
}

size_t choose(uint32_t head_dim, uint32_t kv_capacity, uint32_t rows, bool few_heads,
              const DeviceInfo& device) {
  const size_t heads = few_heads ? 0 : 1;
  if (few_heads && kv_capacity <= kLargeClusterKeys && rows <= kLargeClusterRows &&
      has_large_clusters(device))
    return kLargeCluster;
  if (kv_capacity <= kClusterKeys && rows <= kClusterRows && has_clusters(device))
    return kClusterOf4 + heads;
  const uint64_t elements =
      uint64_t{kv_capacity} * head_dim / scratch_parts(kv_capacity, rows, device);
  if (elements <= kShortElements) return kShortOf4 + heads;
  if (elements > kLongElements && few_heads) return kLong;
  return kScratchOf4 + heads;
}

}  // namespace

std::span<const AttnVariant> attn_variants(const DeviceInfo& device) {
  const std::span<const AttnVariant> all(kVariants);
  return has_large_clusters(device) ? all
         : has_clusters(device)     ? all.first(kLargeCluster)
                                    : all.first(kNoClusters);
}

std::string name_of(const AttnVariant& v, uint32_t head_dim) {
  const std::string form = v.form == AttnForm::kCluster
                               ? fmt::format("cluster{}", v.cluster)
                               : fmt::format("scratch{}x{}", v.strip_groups, v.tiles);
  return fmt::format("flash_attn_vec_f16_{0}_h{1}_dk{2}_dv{2}", form, v.heads, head_dim);
}

GpuKernel attn_kernel(const AttnVariant& v, uint32_t head_dim, const char* entry) {
  return {.source = "decant/ops/flash_attn_vec/kernels.cu",
          .entry = entry,
          .constants = {{"DECANT_HEAD_DIM", head_dim},
                        {"DECANT_HEADS", v.heads},
                        {"DECANT_KEY_GROUPS", key_groups(v, head_dim)},
                        {"DECANT_TILES", v.tiles},
                        {"DECANT_FORM", static_cast<uint32_t>(v.form)},
                        {"DECANT_CLUSTER", v.cluster},
                        {"DECANT_BLOCKS_PER_SM", v.blocks_per_sm}}};
}

AttnPlan plan_attn(const FlashAttnVecParams& p, uint32_t workgroups, const DeviceInfo& device) {
  require(capability(device) >= 80,
          "flash_attn_vec: needs a GPU of compute capability 8.0 or newer, got {}",
          device.capability);
  const uint32_t group_heads = p.num_heads / p.num_kv_heads;
  AttnPlan plan;
  const auto launch = [&](const AttnVariant& v, uint32_t parts) {
    const uint32_t chunks = (group_heads + v.heads - 1) / v.heads;
    plan.shape = {.num_heads = p.num_heads,
                  .group_heads = group_heads,
                  .chunk_heads = (group_heads + chunks - 1) / chunks,
                  .kv_capacity = p.kv_capacity};
    plan.launch = {.grid = {parts, p.num_kv_heads, chunks},
                   .group = {v.strip_groups * 32},
                   .cooperative = v.form == AttnForm::kScratch,
                   // Short kernels, of which a start that overlaps is a good part.
                   .programmatic = (v.form == AttnForm::kCluster || v.blocks_per_sm > 1) &&
                                   capability(device) >= 90};
    if (v.form == AttnForm::kCluster) plan.launch.cluster = {v.cluster};
  };
  if (workgroups == 1) {
    launch(kAttnOne, 1);
    return plan;
  }
  if (workgroups == kFlashAttnVecWorkgroups) {
    launch(kAttnNwg32, kFlashAttnVecWorkgroups);
    return plan;
  }

  // The grid's rows: KV heads, or chunks of their query heads.
  const bool few_heads = group_heads <= 4;
  const uint64_t chunks = few_heads ? 1 : (uint64_t{group_heads} + 7) / 8;
  const auto rows =
      static_cast<uint32_t>(std::min<uint64_t>(uint64_t{p.num_kv_heads} * chunks, UINT32_MAX));
  plan.variant = choose(p.head_dim, p.kv_capacity, rows, few_heads, device);
  const AttnVariant& v = kVariants[plan.variant];
  if (v.form == AttnForm::kCluster) {
    launch(v, v.cluster);
    return plan;
  }
  const uint32_t parts = scratch_parts(p.kv_capacity, rows, device);
  launch(v, parts);
  if (parts == 1) {
    plan.launch.cooperative = false;  // nothing to wait for, and more rows than have their place
    return plan;
  }
  plan.scratch_bytes = size_t{rows} * plan.shape.chunk_heads * (p.head_dim / 8) * parts * 40;
  return plan;
}

}  // namespace decant::cuda
