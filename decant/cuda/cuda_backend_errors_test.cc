// What fails in the driver or the compiler becomes an Error that names the kernel, and nothing
// leaks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "decant/core/encoder.h"
#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/cuda/test_backend.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;

using CudaBackendErrors = CudaBackendTest;

TEST_F(CudaBackendErrors, KernelsWithoutCodeAreRefused) {
  const Device device = Device::cuda(fake::options());
  const KernelDef cpu_only{.name = "cpu_only", .cpu = [](const CpuGroup&) {}};
  CommandEncoder encoder(device);
  fails(ErrorKind::kKernelNotFound, "kernel 'cpu_only' has no cuda code",
        [&] { encoder.dispatch(&cpu_only, {}, {}); });
}

TEST_F(CudaBackendErrors, AFailedCompilationShowsTheLog) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  for (int attempt = 0; attempt < 2; ++attempt)
    fails(ErrorKind::kCompilationFailed,
          "broken_f32: NVRTC 13.0: NVRTC_ERROR_COMPILATION\n"
          "#error this cannot compile",
          [&] {
            encoder.dispatch(&kBroken, {reads(x)}, {});
            encoder.commit_and_wait();
          });
  fails(ErrorKind::kCompilationFailed, "#error this cannot compile", [&] {
    (void)Graph::capture(device, [&](CommandEncoder& e) { e.dispatch(&kBroken, {reads(x)}, {}); });
  });
  encoder.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {});
  encoder.commit_and_wait();
}

TEST_F(CudaBackendErrors, CodeThatTheDriverRefuses) {
  fake::driver().module_load_result = 222;
  const Device device = Device::cuda(fake::options());
  CommandEncoder encoder(device);
  fails(ErrorKind::kCompilationFailed,
        "kernel 'copy_f32': the driver, which supports CUDA 13.0, cannot load code for sm_90", [&] {
          encoder.dispatch(&kCopy, {bytes(Params{}), bytes(uint64_t{})}, {});
          encoder.commit_and_wait();
        });
}

TEST_F(CudaBackendErrors, ALaunchThatFailsNamesItsKernel) {
  fake::driver().refused_kernel = "scale";
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  const auto record = [&](CommandEncoder& e) {
    e.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {});
    e.dispatch(&kScale, {bytes(Params{}), reads(x), bytes(uint64_t{}), writes(x)},
               {.grid = {3}, .group = {64}, .shared_bytes = 16});
    e.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {});
  };
  const char* const message =
      "kernel 'scale_f32' failed: cuda: cannot launch 3x1x1 blocks of 64x1x1 threads with 16 bytes "
      "of shared memory: a fake error (CUDA_ERROR_INVALID_VALUE, 1)";
  record(encoder);
  encoder.commit();  // keeps the failure until wait
  fails(ErrorKind::kCommandFailed, message, [&] { encoder.wait(); });
  EXPECT_EQ(fake::driver().launches.size(), 1u) << "what follows is not run";
  fails(ErrorKind::kCommandFailed, message, [&] { (void)Graph::capture(device, record); });
  fake::driver().refused_kernel = "";
  record(encoder);
  encoder.commit_and_wait();
}

TEST_F(CudaBackendErrors, ALostDeviceNamesTheKernelsUnderWay) {
  for (const bool captured : {false, true}) {
    fake::reset();
    fake::driver().lethal_kernel = "scale";
    const Device device = Device::cuda(fake::options());
    const Buffer x = device.buffer(DType::kF32, {64});
    const auto record = [&](CommandEncoder& e) {
      e.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {});
      e.dispatch(&kScale, {bytes(Params{}), reads(x), bytes(uint64_t{}), writes(x)}, {});
      e.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {});
    };
    const auto run = [&] {
      if (captured) {
        Graph graph = Graph::capture(device, record);
        graph.replay();
        graph.replay();
        graph.wait();
      } else {
        CommandEncoder encoder(device);
        record(encoder);
        encoder.commit_and_wait();
      }
    };
    fails(ErrorKind::kCommandFailed,
          captured ? "one of the kernels 'copy_f32', 'scale_f32'"
                   : "an illegal memory access was encountered",
          run);
    // Everything fails now, and says why.
    fails(ErrorKind::kCommandFailed, "an illegal memory access was encountered", run);
    fails(ErrorKind::kCommandFailed, "an illegal memory access was encountered",
          [&] { (void)device.buffer(DType::kU8, {1}); });
    std::vector<std::byte> bytes_of_x(256);
    fails(ErrorKind::kCommandFailed, "an illegal memory access was encountered",
          [&] { device.read(x, bytes_of_x); });
  }
}

}  // namespace
}  // namespace decant
