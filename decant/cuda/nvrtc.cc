#include "decant/cuda/nvrtc.h"

#include <algorithm>
#include <cstdlib>

#include "decant/core/error.h"
#include "decant/cuda/driver.h"
#include "decant/cuda/shared_library.h"

namespace decant::cuda {
namespace {

constexpr int kNewestMajor = 13, kOldestMajor = 12;

std::vector<std::string> candidates(const std::string& path) {
  if (!path.empty()) return {path};
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (std::string named = variable("DECANT_NVRTC"); !named.empty()) return {std::move(named)};
  std::vector<std::string> folders = {""};
  for (const std::string& home :
       {variable("CUDA_HOME"), variable("CUDA_PATH"), std::string("/usr/local/cuda")})
    if (!home.empty()) {
      folders.push_back(home + "/lib64/");
      folders.push_back(home + "/lib/");
    }
  std::vector<std::string> files;
  for (const std::string& folder : folders) {
    for (int major = kNewestMajor; major >= kOldestMajor; --major)
      files.push_back(fmt::format("{}libnvrtc.so.{}", folder, major));
    files.push_back(folder + "libnvrtc.so");
  }
  return files;
}

// NVRTC opens libnvrtc-builtins by its bare name, when it compiles. Beside a library that was named
// by its path, as that of NVRTC's package, it is found only if it has been opened before.
void open_builtins_beside(const std::string& file, int major, int minor) {
  const size_t slash = file.rfind('/');
  if (slash == std::string::npos) return;
  std::string problem;  // NVRTC's own message, if it finds no other either, is the better one
  SharedLibrary::open(
      fmt::format("{}libnvrtc-builtins.so.{}.{}", file.substr(0, slash + 1), major, minor),
      problem);
}

}  // namespace

std::shared_ptr<const Nvrtc> Nvrtc::load(const std::string& path) {
  std::string problem, first_problem;
  for (const std::string& file : candidates(path)) {
    const SharedLibrary library = SharedLibrary::open(file, problem);
    if (first_problem.empty()) first_problem = problem;
    if (!library) continue;
    auto nvrtc = std::make_shared<Nvrtc>();
    library.find(nvrtc->error_string, "nvrtcGetErrorString");
    bool complete = nvrtc->error_string != nullptr;
#define DECANT_FIND(member, symbol, parameters) \
  library.find(nvrtc->member, #symbol);         \
  complete = complete && nvrtc->member;
    DECANT_NVRTC_FUNCTIONS(DECANT_FIND)
#undef DECANT_FIND
    int major = 0, minor = 0, count = 0;
    if (complete && nvrtc->get_version(&major, &minor) == 0) {
      nvrtc->version = major * 1000 + minor * 10;
      if (major >= kOldestMajor && nvrtc->num_archs(&count) == 0 && count > 0) {
        nvrtc->archs.resize(static_cast<size_t>(count));
        if (nvrtc->supported_archs(nvrtc->archs.data()) == 0) {
          std::sort(nvrtc->archs.begin(), nvrtc->archs.end());
          open_builtins_beside(file, major, minor);
          return nvrtc;
        }
      }
    }
    first_problem = fmt::format("{} is NVRTC {}, needed is {}.0 or newer", file,
                                version_text(nvrtc->version), kOldestMajor);
  }
  fail(ErrorKind::kDeviceNotFound,
       "cuda: no run-time compiler (NVRTC): {}; install CUDA's toolkit {} or {} or its NVRTC "
       "package, or name the library with DECANT_NVRTC=/path/to/libnvrtc.so",
       first_problem, kOldestMajor, kNewestMajor);
}

Nvrtc::Compiled Nvrtc::compile(const std::string& name, const std::string& source,
                               std::span<const std::string> options) const {
  const auto check = [&](NvrtcResult result, const char* what) {
    if (result != 0)
      fail(ErrorKind::kCompilationFailed, "cuda: {}: {}: {}", name, what, error_string(result));
  };
  struct Program {
    const Nvrtc* nvrtc;
    NvrtcProgram handle = nullptr;
    ~Program() {
      if (handle) nvrtc->destroy(&handle);
    }
  } program{this};
  check(create(&program.handle, source.c_str(), name.c_str(), 0, nullptr, nullptr),
        "nvrtcCreateProgram");
  std::vector<const char*> texts;
  for (const std::string& option : options) texts.push_back(option.c_str());
  const NvrtcResult result =
      compile_program(program.handle, static_cast<int>(texts.size()), texts.data());

  Compiled compiled;
  size_t bytes = 0;
  if (log_size(program.handle, &bytes) == 0 && bytes > 1) {
    compiled.log.resize(bytes);
    if (log(program.handle, compiled.log.data()) != 0) compiled.log.clear();
    while (!compiled.log.empty() && (compiled.log.back() == '\0' || compiled.log.back() == '\n'))
      compiled.log.pop_back();
  }
  if (result != 0)
    fail(ErrorKind::kCompilationFailed, "cuda: {}: NVRTC {}: {}\n{}", name, version_text(version),
         error_string(result), compiled.log);
  check(cubin_size(program.handle, &bytes), "nvrtcGetCUBINSize");
  compiled.cubin.resize(bytes);
  check(cubin(program.handle, compiled.cubin.data()), "nvrtcGetCUBIN");
  return compiled;
}

}  // namespace decant::cuda
