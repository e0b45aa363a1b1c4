// From addresses in compiled kernels to lines of the Metal source.
#ifndef DECANT_TESTING_METAL_HOST_SYMBOLS_H_
#define DECANT_TESTING_METAL_HOST_SYMBOLS_H_

#include <string>

namespace decant::metal_host {

// "program_source:12", of the innermost line that is not the shim's; "an unknown line" if there is
// none. `code` is a return address if `returned`, else the instruction itself. Reads debug
// information with addr2line of binutils: only for error messages.
std::string source_line(const void* code, bool returned, const char* library_path);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_SYMBOLS_H_
