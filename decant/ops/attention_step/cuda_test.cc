// How attention_step is planned for GPUs, on a driver that stands for NVIDIA's.
#include <gtest/gtest.h>

#include "decant/ops/attention_step/attention_step.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;

AttentionStepArgs args_of(const Device& device, uint32_t heads, uint32_t kv_heads,
                          uint32_t capacity) {
  constexpr uint32_t kDim = 256;
  const auto f32 = [&](const Shape& shape) { return device.buffer(DType::kF32, shape); };
  const auto cache = [&] { return device.buffer(DType::kF16, {kv_heads, capacity, kDim}); };
  return {.q = f32({heads, kDim}),
          .k = f32({kv_heads, kDim}),
          .v = f32({kv_heads, kDim}),
          .q_norm = f32({kDim}),
          .k_norm = f32({kDim}),
          .rope = f32({1, 2, kDim / 2}),
          .eps = 1e-6f,
          .k_cache = cache(),
          .v_cache = cache(),
          .out = f32({heads, kDim}),
          .kv_seq_len = 1,
          .scale = 0.0625f};
}

class AttentionStepCuda : public ::testing::TestWithParam<int> {};

// Blocks that wait for each other are all resident, or a cluster that the device grants.
TEST_P(AttentionStepCuda, BlocksThatWaitForEachOtherRunTogether) {
  fake::reset();
  fake::driver().capability = GetParam();
  const Device device = Device::cuda(fake::options());
  for (const auto& [heads, kv_heads] : {std::pair{4u, 1u}, {16u, 8u}, {200u, 200u}})
    for (const uint32_t capacity : {1u, 33u, 512u, 1024u, 1025u, 32768u}) {
      if (kv_heads * capacity > 1 << 16) continue;  // of memory enough
      SCOPED_TRACE(fmt::format("heads {}/{} capacity {}", heads, kv_heads, capacity));
      const Launch launch = plan(args_of(device, heads, kv_heads, capacity), device).launch;
      const bool cluster = GetParam() >= 90 && capacity <= 1024;
      EXPECT_EQ(launch.cooperative, !cluster && launch.grid.x > 1);
      if (launch.cooperative) {
        EXPECT_LE(launch.grid.count(), device.info().compute_units);
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Archs, AttentionStepCuda, ::testing::Values(80, 90, 100));

}  // namespace
}  // namespace decant
