// The source step: preprocessed Metal source in, C++ for the shim out.
//
// What macros cannot do is done on tokens: template instantiations with a host_name, function
// constants, threadgroup variables in a kernel's body, attributes, literals, and the table of
// kernels and their parameters that goes below the source.
#ifndef DECANT_TESTING_METAL_HOST_REWRITE_H_
#define DECANT_TESTING_METAL_HOST_REWRITE_H_

#include <stdexcept>
#include <string>
#include <string_view>

namespace decant::metal_host {

// The source is not Metal, or not a part of it that the shim supports. what() begins with
// "file:line: error: ", as the compiler's own messages.
struct SourceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws SourceError.
std::string rewrite(std::string_view preprocessed);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_REWRITE_H_
