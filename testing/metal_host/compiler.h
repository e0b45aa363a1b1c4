// Metal source to a shared object: clang -E, the source step, clang. Results are kept by content.
#ifndef DECANT_TESTING_METAL_HOST_COMPILER_H_
#define DECANT_TESTING_METAL_HOST_COMPILER_H_

#include <string>
#include <string_view>
#include <vector>

namespace decant::metal_host {

struct CompileOptions {
  std::vector<std::string> include_dirs{};  // for #include of the source's own headers
  std::vector<std::string> defines{};       // "NAME=VALUE"
  // Every access to memory is checked and remembered: exact bounds, races between threads, reads
  // of threadgroup memory that nobody wrote. Some twenty times slower.
  bool checked = false;
};

// Why kernels cannot be compiled here, or empty.
std::string why_no_compiler();

// The path of the shared object. Throws Failure kCompile with the log.
//
// Files live in $DECANT_METAL_HOST_CACHE, or else a folder of the user's below the system's one for
// temporary files; they are published by rename, so processes may share them.
std::string compile(std::string_view source, const CompileOptions& options);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_COMPILER_H_
