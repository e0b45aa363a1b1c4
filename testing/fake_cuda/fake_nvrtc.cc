// The shared library that stands for libnvrtc.so.
#include <cstring>
#include <string>

#include "decant/cuda/nvrtc.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant::cuda {

using testing::fake_cuda::NvrtcState;

struct NvrtcProgram_ {
  std::string source, cubin, log;
};

namespace {
constexpr NvrtcResult kCompilationError = 6;
NvrtcState state;
}  // namespace

// NOLINTBEGIN(readability-identifier-naming): NVIDIA's names
extern "C" {

NvrtcState* fake_nvrtc_state() { return &state; }

const char* nvrtcGetErrorString(NvrtcResult result) {
  return result == kCompilationError ? "NVRTC_ERROR_COMPILATION" : "NVRTC_SUCCESS";
}
NvrtcResult nvrtcVersion(int* major, int* minor) {
  *major = state.major;
  *minor = state.minor;
  return 0;
}
NvrtcResult nvrtcGetNumSupportedArchs(int* count) {
  *count = static_cast<int>(state.archs.size());
  return 0;
}
NvrtcResult nvrtcGetSupportedArchs(int* archs) {
  std::memcpy(archs, state.archs.data(), state.archs.size() * sizeof(int));
  return 0;
}
NvrtcResult nvrtcCreateProgram(NvrtcProgram* program, const char* source, const char*, int,
                               const char* const*, const char* const*) {
  *program = new NvrtcProgram_{.source = source, .cubin = {}, .log = {}};
  return 0;
}
NvrtcResult nvrtcDestroyProgram(NvrtcProgram* program) {
  delete *program;
  *program = nullptr;
  return 0;
}
NvrtcResult nvrtcCompileProgram(NvrtcProgram program, int num_options, const char* const* options) {
  const std::lock_guard lock(state.mutex);
  ++state.compiled;
  state.options.assign(options, options + num_options);
  state.source = program->source;
  if (const size_t at = program->source.find("#error"); at != std::string::npos) {
    program->log = program->source.substr(at, program->source.find('\n', at) - at);
    return kCompilationError;
  }
  program->cubin = "FAKE\n" + program->source;
  return 0;
}
NvrtcResult nvrtcGetCUBINSize(NvrtcProgram program, size_t* bytes) {
  *bytes = program->cubin.size() + 1;
  return 0;
}
NvrtcResult nvrtcGetCUBIN(NvrtcProgram program, char* to) {
  std::memcpy(to, program->cubin.c_str(), program->cubin.size() + 1);
  return 0;
}
NvrtcResult nvrtcGetProgramLogSize(NvrtcProgram program, size_t* bytes) {
  *bytes = program->log.size() + 1;
  return 0;
}
NvrtcResult nvrtcGetProgramLog(NvrtcProgram program, char* to) {
  std::memcpy(to, program->log.c_str(), program->log.size() + 1);
  return 0;
}

}  // extern "C"
// NOLINTEND(readability-identifier-naming)
}  // namespace decant::cuda
