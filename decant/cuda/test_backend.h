// What the tests of the CUDA backend have in common: kernels that the stand-in for NVIDIA's driver
// knows, and a fixture that misses nothing that was not freed.
#ifndef DECANT_CUDA_TEST_BACKEND_H_
#define DECANT_CUDA_TEST_BACKEND_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "decant/core/encoder.h"
#include "decant/core/error.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {

struct Params {
  uint32_t a = 0, b = 0, c = 0;
};

inline GpuKernel code(const std::string& entry, const std::string& parameters) {
  return {.source = "//fake " + entry + " " + parameters + "\n", .entry = entry, .constants = {}};
}
// params, x, two words, out.
inline const KernelDef kScale{.name = "scale_f32", .cuda = code("scale", "12 8 8 8 8")};
inline const KernelDef kCopy{.name = "copy_f32", .cuda = code("copy", "12 8 8")};
inline const KernelDef kBroken{.name = "broken_f32",
                               .cuda = {.source = "//fake broken 8 8\n#error this cannot compile\n",
                                        .entry = "broken",
                                        .constants = {}}};

class CudaBackendTest : public ::testing::Test {
 protected:
  void SetUp() override { testing::fake_cuda::reset(); }
  // Whatever a test did, nothing stays behind.
  void TearDown() override {
    EXPECT_EQ(testing::fake_cuda::driver().alive, testing::fake_cuda::DriverState::Alive{})
        << "something was not freed";
  }
  template <typename Fn>
  static void fails(ErrorKind kind, const std::string& part, Fn&& fn) {
    try {
      fn();
      ADD_FAILURE() << "accepted; expected: " << part;
    } catch (const Error& e) {
      EXPECT_EQ(to_string(e.kind()), to_string(kind)) << e.what();
      EXPECT_THAT(e.what(), ::testing::HasSubstr(part));
    }
  }
};

}  // namespace decant

#endif  // DECANT_CUDA_TEST_BACKEND_H_
