// How rows times a vector are planned for GPUs.
#include <gtest/gtest.h>

#include "decant/core/error.h"
#include "decant/kernels/mat_vec_cuda.h"
#include "decant/kernels/weight_format.h"

namespace decant {
namespace {

struct Gpu {
  const char* capability;
  uint32_t units;
  uint32_t most_shared_bytes;  // of a block
};
std::ostream& operator<<(std::ostream& out, const Gpu& gpu) { return out << gpu.capability; }

DeviceInfo info_of(const Gpu& gpu) {
  DeviceInfo device{};
  device.backend = BackendKind::kCuda;
  device.capability = gpu.capability;
  device.compute_units = gpu.units;
  return device;
}

class MatVecCuda : public ::testing::TestWithParam<Gpu> {};

TEST_P(MatVecCuda, ABlocksSharedMemoryIsWhatTheDeviceHas) {
  const Gpu gpu = GetParam();
  const DeviceInfo device = info_of(gpu);
  for (const uint32_t cols : {256u, 640u, 1152u, 2560u, 5376u, 15360u})
    for (const uint32_t rows : {64u, 640u, 2048u, 21504u, 262144u})
      for (const uint32_t format : {kFormatQ4_0, kFormatQ4_K, kFormatQ8_0, kFormatQ6_K}) {
        if (cols % format_block_elems(format) != 0) continue;
        for (const bool paired : {false, cols <= 5376}) {
          const cuda::MatVecProblem problem{
              .cols = cols,
              .formats = {format, paired ? format : uint32_t{kFormatNone}, kFormatNone},
              .rows = {rows, paired ? rows : 0, 0},
              .paired = paired};
          const cuda::MatVecShape shape = cuda::mat_vec_shape(problem, device);
          SCOPED_TRACE(fmt::format("{} rows, {} columns, format {}{}", rows, cols, format,
                                   paired ? ", paired" : ""));
          EXPECT_LE(shape.launch.shared_bytes, gpu.most_shared_bytes);
          EXPECT_GE(shape.launch.grid.x, 1u);
          EXPECT_LE(shape.launch.group.x, 512u);
        }
      }
}

// Of Gemma 3 27B's down projection; the vector alone takes 75 KB.
TEST(MatVecCudaErrors, RowsTooLongForTheDevice) {
  const cuda::MatVecProblem problem{
      .cols = 21504, .formats = {kFormatQ8_0, kFormatNone, kFormatNone}, .rows = {5376, 0, 0}};
  cuda::mat_vec_shape(problem, info_of({"sm_80", 108, 0}));
  try {
    cuda::mat_vec_shape(problem, info_of({"sm_86", 84, 0}));
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(),
                 "mat-vec: weight: rows of 21504 columns need 123728 bytes of shared "
                 "memory, sm_86 has 97280");
  }
}

INSTANTIATE_TEST_SUITE_P(Gpus, MatVecCuda,
                         ::testing::Values(Gpu{"sm_80", 108, 163 << 10}, Gpu{"sm_86", 84, 99 << 10},
                                           Gpu{"sm_89", 128, 99 << 10},
                                           Gpu{"sm_90", 132, 227 << 10},
                                           Gpu{"sm_100", 148, 227 << 10},
                                           Gpu{"sm_120", 170, 99 << 10}));

}  // namespace
}  // namespace decant
