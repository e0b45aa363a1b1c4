// How flash_attn_vec is planned for GPUs, on a driver that stands for NVIDIA's.
#include <gtest/gtest.h>

#include <optional>

#include "decant/core/error.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;

FlashAttnVecArgs args_of(const Device& device, uint32_t D, uint32_t heads, uint32_t kv_heads,
                         uint32_t capacity) {
  return {.q = device.buffer(DType::kF32, {heads, D}),
          .k = device.buffer(DType::kF16, {kv_heads, capacity, D}),
          .v = device.buffer(DType::kF16, {kv_heads, capacity, D}),
          .out = device.buffer(DType::kF32, {heads, D}),
          .kv_seq_len = 1,
          .scale = 0.0625f};
}

class FlashAttnVecCuda : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    fake::reset();
    fake::driver().capability = GetParam();
    device_.emplace(Device::cuda(fake::options()));
  }
  const Device& device() const { return *device_; }

 private:
  std::optional<Device> device_;
};

// Blocks that wait for each other are all resident, or a cluster that the device grants.
TEST_P(FlashAttnVecCuda, BlocksThatWaitForEachOtherRunTogether) {
  const DeviceInfo& info = device().info();
  for (const uint32_t D : {64u, 128u, 256u})
    for (const auto& [heads, kv_heads] :
         {std::pair{4u, 1u}, {8u, 4u}, {16u, 8u}, {16u, 2u}, {71u, 1u}, {32u, 32u}, {400u, 200u}})
      for (const uint32_t capacity : {1u, 15u, 16u, 17u, 512u, 1024u, 1025u, 4096u, 32768u}) {
        if (kv_heads * capacity > 1 << 16) continue;  // of memory enough
        SCOPED_TRACE(fmt::format("D {} heads {}/{} capacity {}", D, heads, kv_heads, capacity));
        const FlashAttnVecPlan how =
            plan(args_of(device(), D, heads, kv_heads, capacity), device());
        ASSERT_TRUE(how.kernel && device().backend().has(how.kernel));
        const Launch& launch = how.launch;
        EXPECT_LE(launch.group.count(), 512u);
        EXPECT_EQ(how.splits, launch.grid.x);
        EXPECT_EQ(launch.grid.y, kv_heads);
        EXPECT_EQ(how.cuda.kv_capacity, capacity);
        EXPECT_EQ(how.cuda.group_heads, heads / kv_heads);
        EXPECT_LE(how.cuda.chunk_heads, 8u);
        EXPECT_GE(how.cuda.chunk_heads * launch.grid.z, heads / kv_heads);
        EXPECT_LT(how.cuda.chunk_heads * (launch.grid.z - 1), heads / kv_heads);
        if (launch.cluster.x > 1) {
          EXPECT_GE(GetParam(), 90);
          EXPECT_EQ(launch.grid.x, launch.cluster.x);
          EXPECT_LE(launch.cluster.x, GetParam() == 120 ? 8u : 16u);
          EXPECT_EQ(how.scratch_bytes, 0u);
        } else if (how.splits > 1) {
          EXPECT_TRUE(launch.cooperative);
          EXPECT_LE(launch.grid.count(), info.compute_units);
          EXPECT_LE(how.splits, (capacity + 15) / 16);
          EXPECT_EQ(how.scratch_bytes, launch.grid.count() * how.cuda.chunk_heads * (D / 8) * 40);
        } else {
          EXPECT_FALSE(launch.cooperative);
          EXPECT_EQ(how.scratch_bytes, 0u);
        }
      }
}

TEST_P(FlashAttnVecCuda, TheTwoDocumentedFormsHaveTheirKernelsAndGrids) {
  FlashAttnVecArgs args = args_of(device(), 128, 12, 3, 100);
  args.workgroups_per_head = 1;
  FlashAttnVecPlan how = plan(args, device());
  EXPECT_EQ(how.kernel->name, "flash_attn_vec_f16_dk128_dv128");
  EXPECT_EQ(how.launch.grid, (Dim3{1, 3, 1}));
  args.workgroups_per_head = 32;
  args.tmp = device().buffer(DType::kF32, {12 * 32 * 130});
  how = plan(args, device());
  EXPECT_EQ(how.kernel->name, "flash_attn_vec_f16_nwg32_dk128_dv128");
  EXPECT_EQ(how.launch.grid, (Dim3{32, 3, 1}));
  EXPECT_EQ(how.tmp_bytes, 12u * 32 * 130 * 4);
  EXPECT_EQ(how.scratch_bytes, 0u);
}

// Launches as short as their own start overlap it with the one before, where the GPU can.
TEST_P(FlashAttnVecCuda, ShortLaunchesStartEarly) {
  const auto launch = [&](uint32_t D, uint32_t heads, uint32_t kv_heads, uint32_t capacity) {
    return plan(args_of(device(), D, heads, kv_heads, capacity), device()).launch;
  };
  const bool can = GetParam() >= 90;
  const uint32_t parts = device().info().compute_units / 8 * 8;
  for (const uint32_t D : {64u, 128u, 256u}) {
    const uint32_t most = parts * 16384 / D;  // keys
    EXPECT_EQ(launch(D, 4, 1, 512).programmatic, can);
    EXPECT_EQ(launch(D, 4, 1, most).programmatic, can);
    EXPECT_EQ(launch(D, 4, 1, most).group.x, 256u);
    EXPECT_FALSE(launch(D, 4, 1, most + parts).programmatic);
    EXPECT_EQ(launch(D, 4, 1, most + parts).group.x, 512u);
  }
}

TEST_P(FlashAttnVecCuda, ThePlanDoesNotDependOnTheLiveLength) {
  for (const uint32_t capacity : {512u, 9000u}) {
    FlashAttnVecArgs args = args_of(device(), 256, 4, 1, capacity);
    const FlashAttnVecPlan a = plan(args, device());
    args.kv_seq_len = capacity;
    const FlashAttnVecPlan b = plan(args, device());
    EXPECT_EQ(a.kernel, b.kernel);
    EXPECT_EQ(a.launch.grid, b.launch.grid);
    EXPECT_EQ(a.scratch_bytes, b.scratch_bytes);
  }
}

INSTANTIATE_TEST_SUITE_P(Archs, FlashAttnVecCuda, ::testing::Values(80, 89, 90, 100, 120),
                         [](const auto& arch) { return fmt::format("sm_{}", arch.param); });

TEST(FlashAttnVecOldGpu, IsRefusedWithTheReason) {
  fake::reset();
  fake::driver().capability = 75;
  const Device device = Device::cuda(fake::options());
  try {
    plan(args_of(device, 256, 4, 1, 512), device);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
    EXPECT_STREQ(e.what(),
                 "flash_attn_vec: needs a GPU of compute capability 8.0 or newer, got sm_75");
  }
}

}  // namespace
}  // namespace decant
