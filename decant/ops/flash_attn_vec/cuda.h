// How flash_attn_vec runs on CUDA: which variant of kernels.cu, and its launch.
#ifndef DECANT_OPS_FLASH_ATTN_VEC_CUDA_H_
#define DECANT_OPS_FLASH_ATTN_VEC_CUDA_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "decant/core/command_list.h"
#include "decant/core/device.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant::cuda {

// How the blocks that share a head's keys come to one result; values as in kernels.cu.
enum class AttnForm : uint32_t {
  kOne = 0,      // a block has all keys
  kNwg32 = 1,    // 32 blocks leave partial results in tmp, for the reduce kernel
  kCluster = 2,  // the blocks are a cluster and merge in its shared memory
  kScratch = 3,  // any number of blocks, all resident, merge through global memory
};

// A compiled form of kernels.cu.
struct AttnVariant {
  AttnForm form;
  uint32_t heads;          // query heads of a block, at most: 4 or 8
  uint32_t strip_groups;   // warps of a block
  uint32_t tiles;          // tiles of 16 keys that a warp has in flight
  uint32_t cluster;        // blocks of a cluster
  uint32_t blocks_per_sm;  // 2: leaves room for the next launch's, which then starts early
};

inline constexpr AttnVariant kAttnOne{AttnForm::kOne, 8, 16, 1, 1, 1};
inline constexpr AttnVariant kAttnNwg32{AttnForm::kNwg32, 8, 8, 1, 1, 1};

// Those that the planner chooses from on this device.
std::span<const AttnVariant> attn_variants(const DeviceInfo& device);
std::string name_of(const AttnVariant& variant, uint32_t head_dim);
// Code of a variant; entry: "flash_attn_vec" or "flash_attn_vec_reduce".
GpuKernel attn_kernel(const AttnVariant& variant, uint32_t head_dim, const char* entry);

struct AttnPlan {
  size_t variant = 0;  // of attn_variants(), if the form is the planner's choice
  Launch launch{};
  FlashAttnVecCudaShape shape{};
  size_t scratch_bytes = 0;
};
// workgroups: 1, 32, or 0 for the planner's choice. Depends on nothing but sizes and the device.
AttnPlan plan_attn(const FlashAttnVecParams& params, uint32_t workgroups, const DeviceInfo& device);

inline constexpr uint32_t kAttnReduceThreads = 256;

}  // namespace decant::cuda

#endif  // DECANT_OPS_FLASH_ATTN_VEC_CUDA_H_
