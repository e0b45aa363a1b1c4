// The text of GPU kernels and of the headers they share with the host, embedded in the library.
#ifndef DECANT_CORE_KERNEL_SOURCE_H_
#define DECANT_CORE_KERNEL_SOURCE_H_

#include <span>
#include <string>
#include <string_view>

namespace decant {

struct EmbeddedSource {
  std::string_view path;  // as an include names it: "decant/ops/rms_norm/kernels.cu"
  std::string_view text;
};

// All of them, sorted by path: the .cu, .cuh and .metal files below decant/, each op's params.h and
// the plain headers of decant/kernels.
std::span<const EmbeddedSource> embedded_sources();

// Throws KernelNotFound naming the path.
std::string_view embedded_source(std::string_view path);

// The file as one text for a run-time compiler: includes of embedded files are replaced by their
// text, each once, and #line directives keep the compiler's messages true. Includes in angle
// brackets are dropped, except those of `keep` (Metal's <metal_stdlib>): integer types and the like
// come from the backend's prelude. A `path` that contains a line feed is the text itself. Throws
// KernelNotFound for an include that is not embedded.
std::string flatten_source(std::string_view path, std::span<const std::string_view> keep = {});

// The same for a text that is not embedded.
std::string flatten_source(std::string_view path, std::string_view text,
                           std::span<const std::string_view> keep = {});

}  // namespace decant

#endif  // DECANT_CORE_KERNEL_SOURCE_H_
