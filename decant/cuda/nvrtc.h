// NVRTC, CUDA's run-time compiler, found at run time.
// Source: "NVRTC", NVIDIA; driver_api_test.cc compares these declarations with nvrtc.h.
#ifndef DECANT_CUDA_NVRTC_H_
#define DECANT_CUDA_NVRTC_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace decant::cuda {

using NvrtcResult = int;
using NvrtcProgram = struct NvrtcProgram_*;

// X(member, symbol, parameters). All return an nvrtcResult.
#define DECANT_NVRTC_FUNCTIONS(X)                                                   \
  X(get_version, nvrtcVersion, (int* major, int* minor))                            \
  X(num_archs, nvrtcGetNumSupportedArchs, (int* count))                             \
  X(supported_archs, nvrtcGetSupportedArchs, (int* archs))                          \
  X(create, nvrtcCreateProgram,                                                     \
    (NvrtcProgram * program, const char* source, const char* name, int num_headers, \
     const char* const* headers, const char* const* include_names))                 \
  X(destroy, nvrtcDestroyProgram, (NvrtcProgram * program))                         \
  X(compile_program, nvrtcCompileProgram,                                           \
    (NvrtcProgram program, int num_options, const char* const* options))            \
  X(cubin_size, nvrtcGetCUBINSize, (NvrtcProgram program, size_t * bytes))          \
  X(cubin, nvrtcGetCUBIN, (NvrtcProgram program, char* to))                         \
  X(log_size, nvrtcGetProgramLogSize, (NvrtcProgram program, size_t * bytes))       \
  X(log, nvrtcGetProgramLog, (NvrtcProgram program, char* to))

// The functions of one loaded library. compile() may be called from several threads.
struct Nvrtc {
#define DECANT_DECLARE(member, symbol, parameters) NvrtcResult(*member) parameters = nullptr;
  DECANT_NVRTC_FUNCTIONS(DECANT_DECLARE)
#undef DECANT_DECLARE
  const char* (*error_string)(NvrtcResult result) = nullptr;
  int version = 0;         // 13000 for 13.0
  std::vector<int> archs;  // 90 for sm_90, ascending

  // Loads `path`. If it is empty: the file that the environment variable DECANT_NVRTC names, else
  // the newest libnvrtc.so from the loader's path, $CUDA_HOME, $CUDA_PATH and /usr/local/cuda.
  // Throws DeviceNotFound saying where it looked and what to install.
  static std::shared_ptr<const Nvrtc> load(const std::string& path);

  struct Compiled {
    std::vector<char> cubin;
    std::string log;  // warnings, and what --ptxas-options=-v tells
  };
  // Throws CompilationFailed with `name` and the compiler's messages.
  Compiled compile(const std::string& name, const std::string& source,
                   std::span<const std::string> options) const;
};

}  // namespace decant::cuda

#endif  // DECANT_CUDA_NVRTC_H_
