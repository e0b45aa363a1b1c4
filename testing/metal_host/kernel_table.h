// The kernels of one source: found by the rewrite, printed as the table below the source.
#ifndef DECANT_TESTING_METAL_HOST_KERNEL_TABLE_H_
#define DECANT_TESTING_METAL_HOST_KERNEL_TABLE_H_

#include <map>
#include <set>
#include <string>
#include <vector>

namespace decant::metal_host {

struct ParamSource {
  std::string kind;   // an enumerator of ParamKind
  std::string index;  // an expression
  std::string name;
  std::string condition = "true";  // the function constant that says whether it is there
};

// A kernel function or function template, by its name in the source.
struct KernelSource {
  std::vector<ParamSource> params;
  std::string max_threads = "0";      // an expression
  std::set<std::string> identifiers;  // that its body and parameters mention
};

// Something the host can ask for: a plain kernel or an instantiation.
struct KernelName {
  std::string host_name, function, template_arguments;  // "<float, 4>" or empty
};

struct ConstantSource {
  std::string index, name, type;
};

struct KernelTable {
  std::map<std::string, KernelSource> kernels;
  std::vector<KernelName> names;
  std::vector<ConstantSource> constants;
  std::set<std::string> optional_constants;  // that is_function_constant_defined asks for
  // What each function or variable outside kernels mentions, by its name.
  std::map<std::string, std::set<std::string>> mentions;
};

// C++ that defines metal_host_library(). Throws SourceError for an instantiation of a kernel that
// the source does not define.
std::string print(const KernelTable& table);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_KERNEL_TABLE_H_
