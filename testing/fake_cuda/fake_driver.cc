// The shared library that stands for libcuda.so.1.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>

#include "decant/cuda/driver.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant::cuda {

using testing::fake_cuda::DriverState;
using testing::fake_cuda::Launch;

struct Context_ {};
struct Event_ {};
struct Module_ {
  std::string image;
  std::map<std::string, std::unique_ptr<Function_>> functions;
};
struct Function_ {
  std::string name;
  std::vector<size_t> parameters;
  int shared_limit = 48 << 10;
};
struct Graph_ {
  std::vector<Launch> nodes;
};
struct GraphExec_ {
  std::vector<Launch> nodes;
};
struct Stream_ {
  Graph_* capturing = nullptr;
};

namespace {

constexpr Result kInvalidValue = 1, kInvalidContext = 201, kNotFound = 500, kIllegalAddress = 700,
                 kCooperativeTooLarge = 720;

DriverState state;
Context_ context;
thread_local std::vector<ContextHandle> current;
std::map<DevicePtr, size_t> allocations;

// What every call that needs a context answers first.
Result ready() {
  if (current.empty()) return kInvalidContext;
  return state.lost;
}

void execute(const Launch& launch) {
  if (state.lost) return;
  state.launches.push_back(launch);
  if (launch.kernel == state.lethal_kernel)
    state.lost = kIllegalAddress;
  else if (state.run)
    state.run(launch);
}

#define FAKE_READY                         \
  const std::lock_guard lock(state.mutex); \
  if (const Result not_ready = ready()) return not_ready

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): NVIDIA's names
extern "C" {

DriverState* fake_driver_state() { return &state; }

Result cuInit(unsigned) { return state.init_result; }
Result cuDriverGetVersion(int* version) {
  *version = state.version;
  return kSuccess;
}
Result cuGetErrorName(Result result, const char** text) {
  *text = result == kOutOfMemory      ? "CUDA_ERROR_OUT_OF_MEMORY"
          : result == kInvalidValue   ? "CUDA_ERROR_INVALID_VALUE"
          : result == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : result == kInvalidContext ? "CUDA_ERROR_INVALID_CONTEXT"
          : result == kNotFound       ? "CUDA_ERROR_NOT_FOUND"
                                      : nullptr;
  return *text ? kSuccess : kInvalidValue;
}
Result cuGetErrorString(Result result, const char** text) {
  *text = result == kIllegalAddress ? "an illegal memory access was encountered" : "a fake error";
  return kSuccess;
}
Result cuDeviceGetCount(int* count) {
  *count = state.num_devices;
  return kSuccess;
}
Result cuDeviceGet(DeviceNumber* device, int ordinal) {
  *device = ordinal;
  return ordinal < state.num_devices ? kSuccess : kInvalidValue;
}
Result cuDeviceGetName(char* name, int length, DeviceNumber device) {
  std::snprintf(name, static_cast<size_t>(length), "Fake GPU %d", device);
  return kSuccess;
}
Result cuDeviceTotalMem_v2(size_t* bytes, DeviceNumber) {
  *bytes = state.memory_bytes;
  return kSuccess;
}
Result cuDeviceGetAttribute(int* value, DeviceAttribute attribute, DeviceNumber) {
  switch (attribute) {
    case DeviceAttribute::kMultiprocessorCount:
      *value = 132;
      return kSuccess;
    case DeviceAttribute::kComputeCapabilityMajor:
      *value = state.capability / 10;
      return kSuccess;
    case DeviceAttribute::kComputeCapabilityMinor:
      *value = state.capability % 10;
      return kSuccess;
  }
  return kInvalidValue;
}

Result cuDevicePrimaryCtxRetain(ContextHandle* out, DeviceNumber) {
  const std::lock_guard lock(state.mutex);
  ++state.alive.contexts;
  *out = &context;
  return kSuccess;
}
Result cuDevicePrimaryCtxRelease_v2(DeviceNumber) {
  const std::lock_guard lock(state.mutex);
  --state.alive.contexts;
  return kSuccess;
}
Result cuCtxPushCurrent_v2(ContextHandle handle) {
  current.push_back(handle);
  return kSuccess;
}
Result cuCtxPopCurrent_v2(ContextHandle* handle) {
  if (current.empty()) return kInvalidContext;
  *handle = current.back();
  current.pop_back();
  return kSuccess;
}

Result cuMemGetInfo_v2(size_t* free, size_t* total) {
  FAKE_READY;
  *free = state.memory_bytes - state.alive.device_bytes;
  *total = state.memory_bytes;
  return kSuccess;
}
Result cuMemAlloc_v2(DevicePtr* memory, size_t bytes) {
  FAKE_READY;
  if (bytes == 0) return kInvalidValue;
  if (bytes > state.memory_bytes - state.alive.device_bytes) return kOutOfMemory;
  void* block = std::aligned_alloc(512, (bytes + 511) / 512 * 512);
  if (!block) return kOutOfMemory;
  std::memset(block, 0xCD, bytes);
  *memory = reinterpret_cast<DevicePtr>(block);
  allocations[*memory] = bytes;
  ++state.alive.device_allocations;
  state.alive.device_bytes += bytes;
  return kSuccess;
}
Result cuMemFree_v2(DevicePtr memory) {
  const std::lock_guard lock(state.mutex);
  const auto found = allocations.find(memory);
  if (current.empty() || found == allocations.end()) std::abort();
  --state.alive.device_allocations;
  state.alive.device_bytes -= found->second;
  allocations.erase(found);
  std::free(reinterpret_cast<void*>(memory));
  return state.lost;
}
Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  FAKE_READY;
  *memory = std::malloc(bytes);
  std::memset(*memory, 0xCD, bytes);
  ++state.alive.host_allocations;
  return kSuccess;
}
Result cuMemFreeHost(void* memory) {
  const std::lock_guard lock(state.mutex);
  --state.alive.host_allocations;
  std::free(memory);
  return state.lost;
}
Result cuMemHostGetDevicePointer_v2(DevicePtr* device, void* host, unsigned) {
  FAKE_READY;
  *device = reinterpret_cast<DevicePtr>(host);
  return kSuccess;
}
Result cuMemsetD8Async(DevicePtr to, unsigned char value, size_t bytes, StreamHandle) {
  FAKE_READY;
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return kSuccess;
}
Result cuMemcpyHtoDAsync_v2(DevicePtr to, const void* from, size_t bytes, StreamHandle) {
  FAKE_READY;
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return kSuccess;
}
Result cuMemcpyDtoHAsync_v2(void* to, DevicePtr from, size_t bytes, StreamHandle) {
  FAKE_READY;
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return kSuccess;
}

Result cuStreamCreate(StreamHandle* stream, unsigned) {
  FAKE_READY;
  *stream = new Stream_;
  ++state.alive.streams;
  return kSuccess;
}
Result cuStreamDestroy_v2(StreamHandle stream) {
  const std::lock_guard lock(state.mutex);
  delete stream;
  --state.alive.streams;
  return state.lost;
}
Result cuStreamSynchronize(StreamHandle) {
  FAKE_READY;
  return kSuccess;
}
Result cuStreamBeginCapture_v2(StreamHandle stream, int) {
  FAKE_READY;
  stream->capturing = new Graph_;
  ++state.alive.graphs;
  return kSuccess;
}
Result cuStreamEndCapture(StreamHandle stream, GraphHandle* graph) {
  const std::lock_guard lock(state.mutex);
  *graph = std::exchange(stream->capturing, nullptr);
  return *graph ? kSuccess : kInvalidValue;
}

Result cuEventCreate(EventHandle* event, unsigned) {
  FAKE_READY;
  *event = new Event_;
  ++state.alive.events;
  return kSuccess;
}
Result cuEventDestroy_v2(EventHandle event) {
  const std::lock_guard lock(state.mutex);
  delete event;
  --state.alive.events;
  return state.lost;
}
Result cuEventRecord(EventHandle, StreamHandle) {
  FAKE_READY;
  return kSuccess;
}
Result cuEventQuery(EventHandle) {
  FAKE_READY;
  return state.busy ? kNotReady : kSuccess;
}
Result cuEventSynchronize(EventHandle) {
  FAKE_READY;
  return kSuccess;
}

Result cuModuleLoadData(ModuleHandle* module, const void* image) {
  FAKE_READY;
  if (state.module_load_result) return state.module_load_result;
  if (std::strncmp(static_cast<const char*>(image), "FAKE", 4) != 0) return kInvalidValue;
  *module = new Module_{static_cast<const char*>(image), {}};
  ++state.alive.modules;
  ++state.modules_loaded;
  return kSuccess;
}
Result cuModuleUnload(ModuleHandle module) {
  const std::lock_guard lock(state.mutex);
  delete module;
  --state.alive.modules;
  return state.lost;
}
Result cuModuleGetFunction(FunctionHandle* function, ModuleHandle module, const char* name) {
  FAKE_READY;
  std::unique_ptr<Function_>& known = module->functions[name];
  std::istringstream lines(module->image);
  for (std::string line; !known && std::getline(lines, line);) {
    std::istringstream words(line);
    std::string mark, kernel;
    if (!(words >> mark >> kernel) || mark != "//fake" || kernel != name) continue;
    known = std::make_unique<Function_>();
    known->name = name;
    for (size_t bytes; words >> bytes;) known->parameters.push_back(bytes);
  }
  *function = known.get();
  return known ? kSuccess : kNotFound;
}
Result cuFuncGetAttribute(int* value, FunctionAttribute, FunctionHandle) {
  FAKE_READY;
  *value = 1024;
  return kSuccess;
}
Result cuFuncSetAttribute(FunctionHandle function, FunctionAttribute attribute, int value) {
  FAKE_READY;
  if (attribute == FunctionAttribute::kMaxDynamicSharedBytes) {
    if (value > state.max_shared_bytes) return kInvalidValue;
    function->shared_limit = value;
  }
  state.shared_limits.push_back(function->name + ": " + std::to_string(value));
  return kSuccess;
}
Result cuFuncGetParamInfo(FunctionHandle function, size_t index, size_t* offset, size_t* bytes) {
  FAKE_READY;
  if (!state.has_parameter_info || index >= function->parameters.size()) return kInvalidValue;
  *offset = 0;
  *bytes = function->parameters[index];
  return kSuccess;
}

Result cuLaunchKernelEx(const LaunchConfig* config, FunctionHandle function, void** parameters,
                        void**) {
  FAKE_READY;
  Launch launch{.kernel = function->name,
                .grid = {config->grid[0], config->grid[1], config->grid[2]},
                .block = {config->block[0], config->block[1], config->block[2]},
                .shared_bytes = config->shared_bytes};
  for (unsigned i = 0; i < config->num_attributes; ++i) {
    const LaunchAttribute& attribute = config->attributes[i];
    switch (attribute.id) {
      case LaunchAttributeId::kCooperative:
        launch.cooperative = attribute.value.flag != 0;
        break;
      case LaunchAttributeId::kClusterDimension:
        for (size_t axis = 0; axis < 3; ++axis)
          launch.cluster[axis] = attribute.value.cluster[axis];
        break;
      case LaunchAttributeId::kProgrammaticStreamSerialization:
        launch.programmatic = attribute.value.flag != 0;
        break;
    }
  }
  if (launch.kernel == state.refused_kernel || launch.block[0] > 1024 || launch.grid[1] > 65535 ||
      config->shared_bytes > static_cast<unsigned>(function->shared_limit))
    return kInvalidValue;
  if (launch.cooperative && launch.grid[0] > 132) return kCooperativeTooLarge;
  for (size_t i = 0; i < function->parameters.size(); ++i) {
    const auto* bytes = static_cast<const std::byte*>(parameters[i]);
    launch.parameters.emplace_back(bytes, bytes + function->parameters[i]);
  }
  if (config->stream->capturing)
    config->stream->capturing->nodes.push_back(std::move(launch));
  else
    execute(launch);
  return kSuccess;
}

Result cuGraphInstantiateWithFlags(GraphExecHandle* executable, GraphHandle graph,
                                   unsigned long long) {
  FAKE_READY;
  *executable = new GraphExec_{graph->nodes};
  state.graphs.push_back(graph->nodes);
  ++state.alive.executables;
  return kSuccess;
}
Result cuGraphLaunch(GraphExecHandle executable, StreamHandle) {
  FAKE_READY;
  ++state.graph_launches;
  for (const Launch& node : executable->nodes) execute(node);
  return kSuccess;
}
Result cuGraphDestroy(GraphHandle graph) {
  const std::lock_guard lock(state.mutex);
  delete graph;
  --state.alive.graphs;
  return state.lost;
}
Result cuGraphExecDestroy(GraphExecHandle executable) {
  const std::lock_guard lock(state.mutex);
  delete executable;
  --state.alive.executables;
  return state.lost;
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
}  // namespace decant::cuda
