// The part of the CUDA driver API that the backend uses, declared here and found at run time: the
// library builds without CUDA's headers and starts without its driver.
// Source: "CUDA Driver API", NVIDIA; driver_api_test.cc compares these declarations with cuda.h.
#ifndef DECANT_CUDA_DRIVER_H_
#define DECANT_CUDA_DRIVER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "decant/core/error.h"

namespace decant::cuda {

using Result = int;  // CUresult
inline constexpr Result kSuccess = 0;
inline constexpr Result kOutOfMemory = 2;
inline constexpr Result kNotReady = 600;

using DeviceNumber = int;
using DevicePtr = unsigned long long;
using ContextHandle = struct Context_*;
using StreamHandle = struct Stream_*;
using EventHandle = struct Event_*;
using ModuleHandle = struct Module_*;
using FunctionHandle = struct Function_*;
using GraphHandle = struct Graph_*;
using GraphExecHandle = struct GraphExec_*;

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDisableTiming = 2;
inline constexpr unsigned kHostAllocPortable = 1, kHostAllocDeviceMap = 2;
inline constexpr int kCaptureModeRelaxed = 2;

enum class DeviceAttribute : int {
  kMultiprocessorCount = 16,
  kComputeCapabilityMajor = 75,
  kComputeCapabilityMinor = 76,
};

enum class FunctionAttribute : int {
  kMaxThreadsPerBlock = 0,
  kMaxDynamicSharedBytes = 8,
  kNonPortableClusterSizeAllowed = 14,
};

enum class LaunchAttributeId : int {
  kCooperative = 2,
  kClusterDimension = 4,
  kProgrammaticStreamSerialization = 6,
};

struct LaunchAttribute {
  LaunchAttributeId id;
  char padding[4];
  union {
    char size[64];
    int flag;  // cooperative, programmatic stream serialization
    unsigned cluster[3];
  } value;
};

struct LaunchConfig {
  unsigned grid[3];
  unsigned block[3];
  unsigned shared_bytes;
  StreamHandle stream;
  LaunchAttribute* attributes;
  unsigned num_attributes;
};

// X(member, symbol, parameters). All return a CUresult.
#define DECANT_CUDA_DRIVER_FUNCTIONS(X)                                                       \
  X(init, cuInit, (unsigned flags))                                                           \
  X(driver_version, cuDriverGetVersion, (int* version))                                       \
  X(error_name, cuGetErrorName, (Result result, const char** text))                           \
  X(error_string, cuGetErrorString, (Result result, const char** text))                       \
  X(device_count, cuDeviceGetCount, (int* count))                                             \
  X(device_get, cuDeviceGet, (DeviceNumber * device, int ordinal))                            \
  X(device_name, cuDeviceGetName, (char* name, int length, DeviceNumber device))              \
  X(device_memory, cuDeviceTotalMem_v2, (size_t * bytes, DeviceNumber device))                \
  X(device_attribute, cuDeviceGetAttribute,                                                   \
    (int* value, DeviceAttribute attribute, DeviceNumber device))                             \
  X(context_retain, cuDevicePrimaryCtxRetain, (ContextHandle * context, DeviceNumber device)) \
  X(context_release, cuDevicePrimaryCtxRelease_v2, (DeviceNumber device))                     \
  X(context_push, cuCtxPushCurrent_v2, (ContextHandle context))                               \
  X(context_pop, cuCtxPopCurrent_v2, (ContextHandle * context))                               \
  X(memory_info, cuMemGetInfo_v2, (size_t * free, size_t * total))                            \
  X(memory_alloc, cuMemAlloc_v2, (DevicePtr * memory, size_t bytes))                          \
  X(memory_free, cuMemFree_v2, (DevicePtr memory))                                            \
  X(host_alloc, cuMemHostAlloc, (void** memory, size_t bytes, unsigned flags))                \
  X(host_free, cuMemFreeHost, (void* memory))                                                 \
  X(host_device_pointer, cuMemHostGetDevicePointer_v2,                                        \
    (DevicePtr * device, void* host, unsigned flags))                                         \
  X(memset_async, cuMemsetD8Async,                                                            \
    (DevicePtr to, unsigned char value, size_t bytes, StreamHandle stream))                   \
  X(copy_to_device, cuMemcpyHtoDAsync_v2,                                                     \
    (DevicePtr to, const void* from, size_t bytes, StreamHandle stream))                      \
  X(copy_to_host, cuMemcpyDtoHAsync_v2,                                                       \
    (void* to, DevicePtr from, size_t bytes, StreamHandle stream))                            \
  X(stream_create, cuStreamCreate, (StreamHandle * stream, unsigned flags))                   \
  X(stream_destroy, cuStreamDestroy_v2, (StreamHandle stream))                                \
  X(stream_synchronize, cuStreamSynchronize, (StreamHandle stream))                           \
  X(stream_begin_capture, cuStreamBeginCapture_v2, (StreamHandle stream, int mode))           \
  X(stream_end_capture, cuStreamEndCapture, (StreamHandle stream, GraphHandle * graph))       \
  X(event_create, cuEventCreate, (EventHandle * event, unsigned flags))                       \
  X(event_destroy, cuEventDestroy_v2, (EventHandle event))                                    \
  X(event_record, cuEventRecord, (EventHandle event, StreamHandle stream))                    \
  X(event_query, cuEventQuery, (EventHandle event))                                           \
  X(event_synchronize, cuEventSynchronize, (EventHandle event))                               \
  X(module_load, cuModuleLoadData, (ModuleHandle * module, const void* image))                \
  X(module_unload, cuModuleUnload, (ModuleHandle module))                                     \
  X(module_function, cuModuleGetFunction,                                                     \
    (FunctionHandle * function, ModuleHandle module, const char* name))                       \
  X(function_attribute, cuFuncGetAttribute,                                                   \
    (int* value, FunctionAttribute attribute, FunctionHandle function))                       \
  X(function_set_attribute, cuFuncSetAttribute,                                               \
    (FunctionHandle function, FunctionAttribute attribute, int value))                        \
  X(launch, cuLaunchKernelEx,                                                                 \
    (const LaunchConfig* config, FunctionHandle function, void** parameters, void** extra))   \
  X(graph_instantiate, cuGraphInstantiateWithFlags,                                           \
    (GraphExecHandle * executable, GraphHandle graph, unsigned long long flags))              \
  X(graph_launch, cuGraphLaunch, (GraphExecHandle executable, StreamHandle stream))           \
  X(graph_destroy, cuGraphDestroy, (GraphHandle graph))                                       \
  X(graph_exec_destroy, cuGraphExecDestroy, (GraphExecHandle executable))

// Null with a driver that lacks them.
#define DECANT_CUDA_OPTIONAL_DRIVER_FUNCTIONS(X) \
  X(function_parameter, cuFuncGetParamInfo,      \
    (FunctionHandle function, size_t index, size_t * offset, size_t * bytes)) /* 12.4 */

// The functions of one loaded library, which is never unloaded: NVIDIA's does not support it.
struct Driver {
#define DECANT_DECLARE(member, symbol, parameters) Result(*member) parameters = nullptr;
  DECANT_CUDA_DRIVER_FUNCTIONS(DECANT_DECLARE)
  DECANT_CUDA_OPTIONAL_DRIVER_FUNCTIONS(DECANT_DECLARE)
#undef DECANT_DECLARE
  int version = 0;  // of CUDA that it supports: 13000 for 13.0

  // Loads and initialises `path`, or libcuda.so.1 if empty. Throws DeviceNotFound saying what is
  // missing: the library, a version, or whatever cuInit complains about.
  static std::shared_ptr<const Driver> load(const std::string& path);

  // "an illegal memory access was encountered (CUDA_ERROR_ILLEGAL_ADDRESS)"
  std::string describe(Result result) const;
  // Throws Error of `kind` unless `result` is kSuccess: "<what>: <describe(result)>".
  void check(Result result, ErrorKind kind, const char* what) const {
    if (result != kSuccess) [[unlikely]]
      fail(kind, "cuda: {}: {}", what, describe(result));
  }
};

// CUDA 12.3, the first that makes programmatic edges of captured launches.
inline constexpr int kMinDriverVersion = 12030;
std::string version_text(int version);  // 12030: "12.3"

}  // namespace decant::cuda

#endif  // DECANT_CUDA_DRIVER_H_
