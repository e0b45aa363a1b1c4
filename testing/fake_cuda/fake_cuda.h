// A CUDA driver and compiler without a GPU, for tests of what the backend asks of them: two shared
// libraries with the functions that decant/cuda/driver.h and nvrtc.h look for.
//
// Device memory is host memory. A "kernel" is a line of its source,
//
//   //fake NAME BYTES...
//
// with the sizes of its parameters; running it calls State::run. The compiler's machine code is the
// source behind a mark, and a source with the line "#error TEXT" does not compile.
#ifndef DECANT_TESTING_FAKE_CUDA_FAKE_CUDA_H_
#define DECANT_TESTING_FAKE_CUDA_FAKE_CUDA_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "decant/core/device.h"

namespace decant::testing::fake_cuda {

struct Launch {
  std::string kernel;
  std::array<unsigned, 3> grid{}, block{}, cluster{1, 1, 1};
  unsigned shared_bytes = 0;
  bool cooperative = false;
  bool programmatic = false;
  std::vector<std::vector<std::byte>> parameters{};

  template <typename T>
  T parameter(size_t index) const {
    T value;
    std::memcpy(&value, parameters.at(index).data(), sizeof value);
    return value;
  }
};

// An edge joins each node of a graph with the next, programmatic where that is.
using Graph = std::vector<Launch>;

// Of one process. Tests set it up before they open a device.
struct DriverState {
  // --- What the driver answers.
  int version = 13000;
  int init_result = 0;
  int num_devices = 1;
  int capability = 90;
  size_t memory_bytes = size_t{1} << 30;
  int module_load_result = 0;
  bool has_parameter_info = true;
  int max_shared_bytes = 227 << 10;
  std::string refused_kernel;     // its launch fails with CUDA_ERROR_INVALID_VALUE
  std::string lethal_kernel;      // running it loses the device: CUDA_ERROR_ILLEGAL_ADDRESS
  std::atomic<bool> busy{false};  // events are not done
  std::function<void(const Launch&)> run;

  // --- What it was asked.
  std::vector<Launch> launches;            // in the order run, those of graphs too
  std::vector<Graph> graphs;               // instantiated
  std::vector<std::string> shared_limits;  // "kernel: bytes" of every cuFuncSetAttribute
  size_t graph_launches = 0;
  size_t modules_loaded = 0;

  // --- What is alive.
  struct Alive {
    int contexts = 0, streams = 0, events = 0, modules = 0, graphs = 0, executables = 0;
    int device_allocations = 0, host_allocations = 0;
    size_t device_bytes = 0;
    bool operator==(const Alive&) const = default;
  } alive;
  int lost = 0;  // the error of a lost device
  std::mutex mutex;
};

struct NvrtcState {
  int major = 13, minor = 0;
  std::vector<int> archs = {75, 80, 86, 89, 90, 100, 103, 110, 120, 121};
  std::atomic<int> compiled{0};
  std::vector<std::string> options;  // of the last program
  std::string source;                // of the last program
  std::mutex mutex;
};

// The states of the two libraries, which this loads.
DriverState& driver();
NvrtcState& nvrtc();
// As at the start. Nothing may be alive.
void reset();
// To open a device of the two libraries, with no cache unless a folder is given.
CudaOptions options(const std::string& cache_dir = "/dev/null");

}  // namespace decant::testing::fake_cuda

#endif  // DECANT_TESTING_FAKE_CUDA_FAKE_CUDA_H_
