#include "testing/metal_host/compiler.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "testing/metal_host/failure.h"
#include "testing/metal_host/rewrite.h"

extern char** environ;

namespace decant::metal_host {
namespace {

namespace fs = std::filesystem;

constexpr const char* kCompiler = "clang++-19";
// The headers of Metal's library. While preprocessing they are empty: the shim comes afterwards.
constexpr std::array kMetalHeaders = {
    "metal_stdlib",        "metal_atomic",      "metal_common",
    "metal_compute",       "metal_config",      "metal_extended_vector",
    "metal_geometric",     "metal_integer",     "metal_limits",
    "metal_math",          "metal_matrix",      "metal_pack",
    "metal_packed_vector", "metal_relational",  "metal_simdgroup",
    "metal_types",         "metal_type_traits", "metal_uniform",
    "metal_vector"};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}
void write_file(const fs::path& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary);
  file << text;
  if (!file.flush()) fail(FailureKind::kCompile, "cannot write {}", path.string());
}

// Runs a program; its output and errors go to `log`.
int run(const std::vector<std::string>& command, const fs::path& log) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return 127;
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

// A folder that goes away with its content.
struct TemporaryFolder {
  explicit TemporaryFolder(const fs::path& parent) {
    fs::create_directories(parent);
    std::string pattern = (parent / "tmp.XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr)
      fail(FailureKind::kCompile, "cannot make a folder in {}", parent.string());
    path = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  fs::path path;
};

fs::path cache_folder() {
  if (const char* given = std::getenv("DECANT_METAL_HOST_CACHE"); given != nullptr && *given != 0)
    return given;
  return fs::temp_directory_path() / fmt::format("decant-metal-host-{}", getuid());
}

uint64_t fnv1a(std::string_view text, uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
  return hash;
}
std::string digest(std::string_view text) {
  return fmt::format("{:016x}{:016x}", fnv1a(text, 0xcbf29ce484222325u),
                     fnv1a(text, 0x9e3779b97f4a7c15u));
}

// Everything besides the source that decides what comes out.
std::vector<std::string> compile_flags(bool checked) {
  std::vector<std::string> flags = {"-x",
                                    "c++",
                                    "-std=c++14",
                                    "-shared",
                                    "-fPIC",
                                    "-nostdlib",
                                    "-g1",
                                    "-w",
                                    "-fno-exceptions",
                                    "-fno-rtti",
                                    "-fsigned-char",
                                    "-fno-strict-aliasing",
                                    "-ffp-contract=off",
                                    "-Xclang",
                                    "-ffloat16-excess-precision=none",
                                    "-fsanitize=alignment,array-bounds,integer-divide-by-zero",
                                    "-fno-sanitize-recover=all",
                                    "-ferror-limit=20",
                                    "-fno-caret-diagnostics",
                                    "-I",
                                    DECANT_METAL_HOST_SHIM};
#if defined(__x86_64__)
  // Whatever has AVX2 and FMA converts halves, too.
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    flags.emplace_back("-march=x86-64-v3");
#endif
  if (checked) {
    // The instrumentation of ThreadSanitizer, for a runtime of our own. It knows accesses of up to
    // 16 bytes only; wider ones would go unseen.
    for (const char* flag :
         {"-O1", "-fsanitize=thread", "-fno-vectorize", "-fno-slp-vectorize",
          "-mprefer-vector-width=128", "-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm",
          "-tsan-instrument-atomics=0", "-mllvm", "-tsan-instrument-read-before-write=1",
          "-DMETAL_HOST_CHECKED"})
      flags.emplace_back(flag);
  } else {
    flags.emplace_back("-O2");
  }
  return flags;
}

std::string shim_text() {
  std::string text;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(DECANT_METAL_HOST_SHIM))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) text += read_file(file);
  return text;
}

// This very library: the source step is a part of what decides.
std::string own_digest() {
  Dl_info info{};
  dladdr(reinterpret_cast<const void*>(&own_digest), &info);
  return digest(read_file(info.dli_fname));
}

std::string compiler_version() {
  const TemporaryFolder work(cache_folder());
  if (run({kCompiler, "--version"}, work.path / "log") != 0) return "";
  return read_file(work.path / "log");
}

std::string preprocess(const fs::path& work, std::string_view source,
                       const CompileOptions& options) {
  const fs::path headers = work / "headers";
  fs::create_directories(headers);
  for (const char* name : kMetalHeaders) write_file(headers / name, "");
  write_file(work / "source.metal", fmt::format("#line 1 \"program_source\"\n{}\n", source));
  std::vector<std::string> command = {kCompiler,
                                      "-E",
                                      "-x",
                                      "c++",
                                      "-std=c++14",
                                      "-nostdinc",
                                      "-nostdinc++",
                                      "-D__METAL__=1",
                                      "-D__METAL_VERSION__=310",
                                      "-D__HAVE_BFLOAT__=1",
                                      "-fno-caret-diagnostics",
                                      "-Wno-pragma-once-outside-header",
                                      "-isystem",
                                      headers.string()};
  for (const std::string& folder : options.include_dirs)
    command.insert(command.end(), {"-I", folder});
  for (const std::string& define : options.defines) command.push_back("-D" + define);
  command.insert(command.end(),
                 {"-o", (work / "source.i").string(), (work / "source.metal").string()});
  if (run(command, work / "log") != 0)
    throw Failure(FailureKind::kCompile, read_file(work / "log"));
  return read_file(work / "source.i");
}

}  // namespace

std::string why_no_compiler() {
  static const std::string version = compiler_version();
  return version.empty()
             ? fmt::format("{} is not installed (Debian: apt-get install clang-19)", kCompiler)
             : "";
}

std::string compile(std::string_view source, const CompileOptions& options) {
  static const std::string version = compiler_version();
  static const std::string step = own_digest() + shim_text();
  if (version.empty()) throw Failure(FailureKind::kCompile, why_no_compiler());
  const fs::path folder = cache_folder();
  const TemporaryFolder work(folder);
  // A source that includes files of its own is known only after preprocessing.
  std::string text(source);
  const bool includes = !options.include_dirs.empty();
  if (includes) text = preprocess(work.path, source, options);

  std::string key = version + step + (includes ? "preprocessed" : "source");
  for (const std::string& flag : compile_flags(options.checked)) key += flag + '\n';
  for (const std::string& define : options.defines) key += define + '\n';
  key += text;
  const fs::path library = folder / (digest(key) + ".so");
  // The whole key stands beside the library: a collision or a truncated file is a miss.
  const fs::path key_file = folder / (digest(key) + ".key");
  if (fs::exists(library) && read_file(key_file) == key) return library.string();

  if (!includes) text = preprocess(work.path, source, options);
  try {
    text = rewrite(text);
  } catch (const SourceError& error) {
    throw Failure(FailureKind::kCompile, error.what());
  }
  const fs::path cc = work.path / "kernels.cc", so = work.path / "kernels.so";
  write_file(cc, text);
  std::vector<std::string> command = {kCompiler};
  for (const std::string& flag : compile_flags(options.checked)) command.push_back(flag);
  command.insert(command.end(), {"-o", so.string(), cc.string()});
  if (run(command, work.path / "log") != 0) {
    std::string log = read_file(work.path / "log");
    if (std::getenv("DECANT_METAL_HOST_KEEP") != nullptr)
      fs::copy_file(cc, folder / "failed.cc", fs::copy_options::overwrite_existing);
    throw Failure(FailureKind::kCompile, log);
  }
  write_file(work.path / "key", key);
  fs::rename(so, library);
  fs::rename(work.path / "key", key_file);
  return library.string();
}

}  // namespace decant::metal_host
