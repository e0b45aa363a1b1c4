// What the source step reads and changes inside of one kernel.
#ifndef DECANT_TESTING_METAL_HOST_KERNEL_REWRITE_H_
#define DECANT_TESTING_METAL_HOST_KERNEL_REWRITE_H_

#include <cstddef>
#include <vector>

#include "testing/metal_host/kernel_table.h"
#include "testing/metal_host/source.h"

namespace decant::metal_host {

// Of the parameter list between the parentheses, tokens [begin, end). Throws SourceError for a
// parameter that Metal would not know how to bind.
std::vector<ParamSource> read_params(const Source& source, size_t begin, size_t end);

// threadgroup float a[8], b;  ->  references to memory that the runtime guards. The kernel's body
// is tokens [begin, end); its variables are numbered from `number` on. Returns the next number.
int rewrite_threadgroup_variables(Source& source, size_t begin, size_t end, int number);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_KERNEL_REWRITE_H_
