// What is said when something is missing.
#include "decant/cuda/devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decant/core/error.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class CudaDevices : public ::testing::Test {
 protected:
  void SetUp() override { fake::reset(); }
  void TearDown() override { EXPECT_EQ(fake::driver().alive, fake::DriverState::Alive{}); }

  // The same reason from opening a device and from listing.
  static void missing(const CudaOptions& options, const std::string& reason, size_t listed = 0) {
    try {
      (void)Device::cuda(options);
      ADD_FAILURE() << "opened; expected: " << reason;
    } catch (const Error& e) {
      EXPECT_EQ(to_string(e.kind()), to_string(ErrorKind::kDeviceNotFound));
      EXPECT_THAT(e.what(), HasSubstr(reason));
    }
    const cuda::Listing listing = cuda::list_devices(options);
    EXPECT_EQ(listing.devices.size(), listed);
    EXPECT_THAT(listing.problem, HasSubstr(reason));
  }
};

TEST_F(CudaDevices, AreListed) {
  fake::driver().num_devices = 3;
  fake::driver().capability = 100;
  const cuda::Listing listing = cuda::list_devices(fake::options());
  EXPECT_THAT(listing.problem, IsEmpty());
  ASSERT_EQ(listing.devices.size(), 3u);
  EXPECT_EQ(listing.devices[2].name, "Fake GPU 2");
  EXPECT_EQ(listing.devices[2].capability, "sm_100");
  EXPECT_EQ(listing.devices[2].compute_units, 132u);
}

TEST_F(CudaDevices, NoDriver) {
  CudaOptions options = fake::options();
  options.driver = "/no/such/libcuda.so.1";
  missing(options,
          "cuda: no NVIDIA driver: /no/such/libcuda.so.1: cannot open shared object file: No such "
          "file or directory; install one, or run on the CPU");
}

TEST_F(CudaDevices, DriverTooOld) {
  fake::driver().version = 11040;
  missing(fake::options(), "supports CUDA 11.4, needed is 12.3");
}

TEST_F(CudaDevices, NotADriver) {
  CudaOptions options = fake::options();
  options.driver = options.nvrtc;
  missing(options, "supports CUDA of no version, needed is 12.3");
}

TEST_F(CudaDevices, DriverThatDoesNotStart) {
  fake::driver().init_result = 201;
  missing(fake::options(), "cuda: cuInit: a fake error (CUDA_ERROR_INVALID_CONTEXT, 201)");
  fake::driver().init_result = 12345;  // one that has no name
  missing(fake::options(), "cuda: cuInit: a fake error (unknown, 12345)");
}

TEST_F(CudaDevices, NoGpu) {
  fake::driver().num_devices = 0;
  missing(fake::options(), "cuda: the driver finds no GPU");
}

TEST_F(CudaDevices, NoSuchOrdinal) {
  fake::driver().num_devices = 2;
  CudaOptions options = fake::options();
  options.ordinal = 2;
  try {
    (void)Device::cuda(options);
    ADD_FAILURE() << "opened";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "cuda: there is no GPU 2; the machine has 2, from 0 on");
  }
}

TEST_F(CudaDevices, NoCompiler) {
  CudaOptions options = fake::options();
  options.nvrtc = "/no/such/libnvrtc.so";
  missing(options,
          "cuda: no run-time compiler (NVRTC): /no/such/libnvrtc.so: cannot open shared object "
          "file: No such file or directory; install CUDA's toolkit 12 or 13 or its NVRTC package, "
          "or name the library with DECANT_NVRTC=/path/to/libnvrtc.so",
          1);
}

TEST_F(CudaDevices, CompilerTooOld) {
  fake::nvrtc().major = 11;
  fake::nvrtc().minor = 8;
  missing(fake::options(), "is NVRTC 11.8, needed is 12.0 or newer", 1);
}

TEST_F(CudaDevices, NotACompiler) {
  CudaOptions options = fake::options();
  options.nvrtc = options.driver;
  missing(options, "is NVRTC of no version, needed is 12.0 or newer", 1);
}

TEST_F(CudaDevices, GpuThatTheCompilerDoesNotKnow) {
  for (const auto& [capability, remedy] : {std::pair{130, "a newer"}, std::pair{70, "an older"}}) {
    fake::driver().capability = capability;
    try {
      (void)Device::cuda(fake::options());
      ADD_FAILURE() << "opened";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kDeviceNotFound);
      EXPECT_EQ(std::string(e.what()),
                fmt::format("cuda: NVRTC 13.0 compiles for sm_75 to sm_121, the device is sm_{}; "
                            "install the NVRTC of {} CUDA toolkit",
                            capability, remedy));
    }
  }
}

// Code for 8.6 runs on 8.7.
TEST_F(CudaDevices, GpuOfAKnownGeneration) {
  fake::driver().capability = 87;
  EXPECT_EQ(Device::cuda(fake::options()).info().capability, "sm_87");
}

}  // namespace
}  // namespace decant
