// Our declarations of NVIDIA's interfaces against its headers, where they are installed.
#include <gtest/gtest.h>

#if __has_include(<cuda.h>) && __has_include(<nvrtc.h>)
#include <cuda.h>
#include <nvrtc.h>

#include <type_traits>

#include "decant/cuda/driver.h"
#include "decant/cuda/nvrtc.h"

namespace decant::cuda {
namespace {

// Two types that a C caller passes alike: pointers, or numbers and enums of one size.
template <typename Ours, typename Theirs>
constexpr bool alike() {
  if constexpr (std::is_pointer_v<Ours> || std::is_pointer_v<Theirs>)
    return std::is_pointer_v<Ours> && std::is_pointer_v<Theirs>;
  else
    return sizeof(Ours) == sizeof(Theirs) && !std::is_floating_point_v<Theirs> &&
           !std::is_class_v<Theirs>;
}
template <typename... Ours, typename... Theirs, typename R>
constexpr bool same_call(int (*)(Ours...), R (*)(Theirs...)) {
  static_assert(sizeof(R) == sizeof(int) && std::is_enum_v<R>);
  if constexpr (sizeof...(Ours) == sizeof...(Theirs))
    return (alike<Ours, Theirs>() && ...);
  else
    return false;
}

#define DECANT_CHECK(member, symbol, parameters)                                              \
  static_assert(                                                                              \
      same_call(decltype(DECANT_TABLE::member){}, static_cast<decltype(&::symbol)>(nullptr)), \
      #symbol);
#define DECANT_TABLE Driver
DECANT_CUDA_DRIVER_FUNCTIONS(DECANT_CHECK)
#if CUDA_VERSION >= 12040
DECANT_CUDA_OPTIONAL_DRIVER_FUNCTIONS(DECANT_CHECK)
#endif
#undef DECANT_TABLE
#define DECANT_TABLE Nvrtc
DECANT_NVRTC_FUNCTIONS(DECANT_CHECK)
#undef DECANT_TABLE

#define DECANT_EQUAL(ours, theirs) \
  static_assert(static_cast<long long>(ours) == static_cast<long long>(theirs))
DECANT_EQUAL(kSuccess, CUDA_SUCCESS);
DECANT_EQUAL(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
DECANT_EQUAL(kNotReady, CUDA_ERROR_NOT_READY);
DECANT_EQUAL(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
DECANT_EQUAL(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
DECANT_EQUAL(kHostAllocPortable, CU_MEMHOSTALLOC_PORTABLE);
DECANT_EQUAL(kHostAllocDeviceMap, CU_MEMHOSTALLOC_DEVICEMAP);
DECANT_EQUAL(kCaptureModeRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED);
DECANT_EQUAL(DeviceAttribute::kMultiprocessorCount, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
DECANT_EQUAL(DeviceAttribute::kComputeCapabilityMajor,
             CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
DECANT_EQUAL(DeviceAttribute::kComputeCapabilityMinor,
             CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
DECANT_EQUAL(FunctionAttribute::kMaxThreadsPerBlock, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
DECANT_EQUAL(FunctionAttribute::kMaxDynamicSharedBytes,
             CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
DECANT_EQUAL(FunctionAttribute::kNonPortableClusterSizeAllowed,
             CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
DECANT_EQUAL(LaunchAttributeId::kCooperative, CU_LAUNCH_ATTRIBUTE_COOPERATIVE);
DECANT_EQUAL(LaunchAttributeId::kClusterDimension, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
DECANT_EQUAL(LaunchAttributeId::kProgrammaticStreamSerialization,
             CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);

static_assert(sizeof(DevicePtr) == sizeof(CUdeviceptr));
static_assert(sizeof(LaunchAttribute) == sizeof(CUlaunchAttribute) &&
              offsetof(LaunchAttribute, value) == offsetof(CUlaunchAttribute, value));
static_assert(offsetof(CUlaunchAttributeValue, cooperative) == 0 &&
              offsetof(CUlaunchAttributeValue, clusterDim) == 0 &&
              offsetof(CUlaunchAttributeValue, programmaticStreamSerializationAllowed) == 0);
static_assert(sizeof(LaunchConfig) == sizeof(CUlaunchConfig) &&
              offsetof(LaunchConfig, grid) == offsetof(CUlaunchConfig, gridDimX) &&
              offsetof(LaunchConfig, block) == offsetof(CUlaunchConfig, blockDimX) &&
              offsetof(LaunchConfig, shared_bytes) == offsetof(CUlaunchConfig, sharedMemBytes) &&
              offsetof(LaunchConfig, stream) == offsetof(CUlaunchConfig, hStream) &&
              offsetof(LaunchConfig, attributes) == offsetof(CUlaunchConfig, attrs) &&
              offsetof(LaunchConfig, num_attributes) == offsetof(CUlaunchConfig, numAttrs));

TEST(CudaDriverApi, DeclarationsAreThoseOfCudaH) { SUCCEED() << "compiled"; }

}  // namespace
}  // namespace decant::cuda
#else
TEST(CudaDriverApi, DeclarationsAreThoseOfCudaH) {
  GTEST_SKIP() << "SKIPPED: the headers of CUDA are not installed";
}
#endif
