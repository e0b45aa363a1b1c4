// The backend on a real GPU.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "decant/core/encoder.h"
#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/cuda/devices.h"

namespace decant {
namespace {

using ::testing::HasSubstr;

constexpr const char* kSource = R"(
namespace decant {

struct Params {
  uint32_t elements;
  float factor;
};
static_assert(offsetof(Params, factor) == 4);

extern "C" __global__ void scale(const Params value, const Params* in_buffer, const float* x,
                                 float* out) {
  const Params params = in_buffer ? *in_buffer : value;
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < params.elements) out[i] = x[i] * params.factor;
}

// Needs as many words of shared memory as the launch says, beyond 48 KB too.
extern "C" __global__ void reverse(const Params value, const Params*, const float* x, float* out) {
  extern __shared__ float words[];
  for (uint32_t i = threadIdx.x; i < value.elements; i += blockDim.x) words[i] = x[i];
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < value.elements; i += blockDim.x)
    out[i] = words[value.elements - 1 - i];
}

// Each block writes its rank in the cluster.
extern "C" __global__ void ranks(const Params, const Params*, uint32_t* out) {
  uint32_t rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  if (threadIdx.x == 0) out[blockIdx.x] = rank;
}

// counter += 1, overlapping its predecessor.
extern "C" __global__ void count(const Params, const Params*, uint32_t* counter) {
  asm volatile("griddepcontrol.wait;" ::: "memory");
  if (threadIdx.x == 0) *counter += 1;
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

// log[counter - 1] = counter, as the host will see it.
extern "C" __global__ void publish(const Params, const Params*, const uint32_t* counter,
                                   uint32_t* log) {
  if (threadIdx.x == 0) {
    asm volatile("st.relaxed.sys.global.u32 [%0], %1;" ::"l"(log + *counter - 1), "r"(*counter));
    __threadfence_system();
  }
}

extern "C" __global__ void unfused(const Params, const Params*, const float* x, float* out) {
  out[0] = x[0] * x[1] + x[2];
  out[1] = fmaf(x[0], x[1], x[2]);
}

extern "C" __global__ void crash(const Params, const Params*, uint32_t* out) {
  reinterpret_cast<volatile uint32_t*>(8)[threadIdx.x] = 1;
  out[0] = 1;
}

}  // namespace decant
)";

struct Params {
  uint32_t elements;
  float factor;
};

KernelDef kernel(const char* entry) {
  return {.name = entry, .cuda = {.source = kSource, .entry = entry, .constants = {}}};
}

class CudaDeviceTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const cuda::Listing listing = cuda::list_devices();
    reason_ = listing.problem;
  }
  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << "SKIPPED: " << reason_;
  }
  template <typename T>
  static std::vector<T> values(const Device& device, const Buffer& buffer) {
    std::vector<T> got(buffer.elements());
    device.read(buffer, std::as_writable_bytes(std::span(got)));
    return got;
  }
  static inline std::string reason_;
};

TEST_F(CudaDeviceTest, ComputesInBothFormsOfParams) {
  const Device device = Device::cuda();
  const KernelDef scale = kernel("scale");
  std::vector<float> x(1000);
  std::iota(x.begin(), x.end(), 0.0f);
  const Buffer in = device.upload(std::span<const float>(x), DType::kF32, {1000});
  const Buffer out = device.buffer(DType::kF32, {1000});
  const Params params{.elements = 999, .factor = 3};
  const Buffer stored = device.upload(std::as_bytes(std::span(&params, 1)), DType::kU8, {8});
  for (const bool in_buffer : {false, true}) {
    device.zero(out);
    CommandEncoder encoder(device);
    encoder.dispatch(&scale, {in_buffer ? reads(stored) : bytes(params), reads(in), writes(out)},
                     {.grid = {8}, .group = {128}});
    encoder.commit_and_wait();
    const std::vector<float> got = values<float>(device, out);
    for (size_t i = 0; i < 999; ++i) ASSERT_EQ(got[i], 3.0f * static_cast<float>(i));
    EXPECT_EQ(got[999], 0.0f);
  }
}

TEST_F(CudaDeviceTest, LargeSharedMemory) {
  const Device device = Device::cuda();
  const KernelDef reverse = kernel("reverse");
  constexpr uint32_t kN = 24 << 10;  // 96 KB
  std::vector<float> x(kN);
  std::iota(x.begin(), x.end(), 0.0f);
  const Buffer in = device.upload(std::span<const float>(x), DType::kF32, {kN});
  const Buffer out = device.buffer(DType::kF32, {kN});
  CommandEncoder encoder(device);
  encoder.dispatch(&reverse, {bytes(Params{kN, 0}), reads(in), writes(out)},
                   {.grid = {1}, .group = {1024}, .shared_bytes = kN * 4});
  encoder.commit_and_wait();
  EXPECT_THAT(values<float>(device, out), ::testing::ElementsAreArray(x.rbegin(), x.rend()));
}

TEST_F(CudaDeviceTest, Clusters) {
  const Device device = Device::cuda();
  if (device.info().capability < "sm_90") GTEST_SKIP() << "SKIPPED: clusters need sm_90";
  const KernelDef ranks = kernel("ranks");
  for (const uint32_t size : {2u, 8u, 16u})
    for (const bool captured : {false, true}) {
      const Buffer out = device.buffer(DType::kU32, {32});
      const auto record = [&](CommandEncoder& e) {
        e.dispatch(&ranks, {bytes(Params{}), writes(out)},
                   {.grid = {32}, .group = {32}, .cluster = {size}});
      };
      if (captured) {
        Graph::capture(device, record).replay_and_wait();
      } else {
        CommandEncoder encoder(device);
        record(encoder);
        encoder.commit_and_wait();
      }
      const std::vector<uint32_t> got = values<uint32_t>(device, out);
      for (uint32_t i = 0; i < 32; ++i) EXPECT_EQ(got[i], i % size);
    }
}

TEST_F(CudaDeviceTest, ProgrammaticLaunchesKeepTheirOrder) {
  const Device device = Device::cuda();
  const KernelDef count = kernel("count");
  const Buffer counter = device.buffer(DType::kU32, {1});
  Graph graph = Graph::capture(device, [&](CommandEncoder& e) {
    for (int i = 0; i < 200; ++i)
      e.dispatch(&count, {bytes(Params{}), reads_writes(counter)},
                 {.grid = {4}, .group = {64}, .programmatic = true});
  });
  for (int i = 0; i < 10; ++i) graph.replay();
  graph.wait();
  // Four blocks race for the counter, but no launch with the next.
  const uint32_t total = values<uint32_t>(device, counter)[0];
  EXPECT_GE(total, 2000u);
  EXPECT_LE(total, 8000u);
}

TEST_F(CudaDeviceTest, CooperativeLaunchesInAGraph) {
  const Device device = Device::cuda();
  const KernelDef count = kernel("count");
  const Buffer counter = device.buffer(DType::kU32, {1});
  Graph graph = Graph::capture(device, [&](CommandEncoder& e) {
    e.dispatch(&count, {bytes(Params{}), reads_writes(counter)},
               {.grid = {1}, .group = {64}, .cooperative = true});
    e.dispatch(&count, {bytes(Params{}), reads_writes(counter)},
               {.grid = {1}, .group = {64}, .cooperative = true, .programmatic = true});
  });
  graph.replay_and_wait();
  EXPECT_EQ(values<uint32_t>(device, counter)[0], 2u);
}

TEST_F(CudaDeviceTest, TheHostReadsBehindManyReplays) {
  const Device device = Device::cuda();
  const KernelDef count = kernel("count"), publish = kernel("publish");
  constexpr uint32_t kRuns = 500, kAhead = 8;
  const Buffer counter = device.buffer(DType::kU32, {1});
  const Buffer log = device.buffer(DType::kU32, {kRuns}, Usage::kHostVisible);
  Graph graph = Graph::capture(device, [&](CommandEncoder& e) {
    e.dispatch(&count, {bytes(Params{}), reads_writes(counter)}, {.group = {32}});
    e.dispatch(&publish, {bytes(Params{}), reads(counter), reads_writes(log)}, {.group = {32}});
  });
  const auto begin = std::chrono::steady_clock::now();
  uint32_t started = 0;
  for (uint32_t i = 0; i < kRuns; ++i) {
    for (; started < std::min(kRuns, i + kAhead); ++started) graph.replay();
    uint32_t seen = 0;
    while ((seen = log.load<uint32_t>(i)) == 0 && !graph.done()) {
    }
    if (seen == 0) seen = log.load<uint32_t>(i);
    ASSERT_EQ(seen, i + 1);
  }
  graph.wait();
  const double us =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
  std::printf("%u runs of 2 kernels, read behind: %.2f us a run\n", kRuns, us / kRuns);
}

TEST_F(CudaDeviceTest, ProductsAndSumsAreFusedOnlyWhereTheSourceSaysSo) {
  const Device device = Device::cuda();
  const KernelDef unfused = kernel("unfused");
  // The product is 1 + 2^-11 + 2^-24 and rounds to 1 + 2^-11.
  const float x[3] = {1 + 0x1p-12f, 1 + 0x1p-12f, -1 - 0x1p-11f};
  const Buffer in = device.upload(std::span<const float>(x), DType::kF32, {3});
  const Buffer out = device.buffer(DType::kF32, {2});
  CommandEncoder encoder(device);
  encoder.dispatch(&unfused, {bytes(Params{}), reads(in), writes(out)}, {});
  encoder.commit_and_wait();
  const std::vector<float> got = values<float>(device, out);
  EXPECT_EQ(got[0], 0.0f);
  EXPECT_EQ(got[1], 0x1p-24f);
}

TEST_F(CudaDeviceTest, ASecondDeviceFindsTheCode) {
  const std::filesystem::path folder =
      std::filesystem::path(::testing::TempDir()) / "decant_cuda_device_test";
  std::filesystem::remove_all(folder);
  const KernelDef scale = kernel("scale");
  double seconds[2];
  for (double& taken : seconds) {
    const Device device = Device::cuda({.cache_dir = folder.string()});
    const Buffer x = device.buffer(DType::kF32, {1}), out = device.buffer(DType::kF32, {1});
    const auto begin = std::chrono::steady_clock::now();
    CommandEncoder encoder(device);
    encoder.dispatch(&scale, {bytes(Params{1, 1}), reads(x), writes(out)}, {});
    encoder.commit_and_wait();
    taken = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  std::printf("first use %.1f ms compiled, %.2f ms from the cache\n", seconds[0] * 1e3,
              seconds[1] * 1e3);
  EXPECT_LT(seconds[1], seconds[0]);
  std::filesystem::remove_all(folder);
}

TEST_F(CudaDeviceTest, OutOfMemory) {
  const Device device = Device::cuda();
  try {
    (void)device.buffer(DType::kU8, {uint64_t{1} << 50});
    ADD_FAILURE() << "a petabyte was allocated";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kAllocationFailed);
    EXPECT_THAT(e.what(), HasSubstr("1125899906842624 bytes"));
  }
  (void)device.buffer(DType::kU8, {1 << 20});
}

// In a child process: a lost device cannot be used again in this one.
TEST_F(CudaDeviceTest, ACrashNamesTheKernel) {
  ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
  EXPECT_EXIT(
      {
        const Device device = Device::cuda();
        const KernelDef crash = kernel("crash");
        const Buffer out = device.buffer(DType::kU32, {1});
        CommandEncoder encoder(device);
        encoder.dispatch(&crash, {bytes(Params{}), writes(out)}, {});
        try {
          encoder.commit_and_wait();
        } catch (const Error& e) {
          std::fprintf(stderr, "%s\n", e.what());
          std::exit(e.kind() == ErrorKind::kCommandFailed ? 7 : 1);
        }
        std::exit(0);
      },
      ::testing::ExitedWithCode(7), "kernel 'crash' failed: cuda: .*illegal");
}

}  // namespace
}  // namespace decant
