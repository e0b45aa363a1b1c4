// A run described in JSON: buffers, arguments, grids. README.md has the format.
#ifndef DECANT_TESTING_METAL_HOST_RUN_SPEC_H_
#define DECANT_TESTING_METAL_HOST_RUN_SPEC_H_

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "testing/metal_host/library.h"

namespace decant::metal_host {

struct BufferSpec {
  std::string type;
  std::vector<std::byte> content;
};

struct DispatchSpec {
  struct Argument {
    std::string buffer;  // or
    std::vector<std::byte> bytes;
    size_t offset = 0;
  };
  std::string kernel;
  Constants constants;
  std::vector<Argument> arguments;
  std::vector<size_t> threadgroup_bytes;
  Size3 groups, threads;
  bool barrier = true;  // before it
};

struct RunSpec {
  std::string source;
  CompileOptions options;
  std::map<std::string, BufferSpec> buffers;
  std::vector<DispatchSpec> dispatches;
  std::vector<std::string> print;
};

// Throws std::runtime_error that says what is wrong with the file.
RunSpec read_spec(const std::filesystem::path& path);

// Runs it on fresh buffers; returns their contents. Throws Failure.
std::map<std::string, std::vector<std::byte>> run(const RunSpec& spec, const RunOptions& options);

// "1.5 2 nan ..." of a type such as f32.
std::string format_values(const std::string& type, const std::vector<std::byte>& content,
                          size_t most);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_RUN_SPEC_H_
