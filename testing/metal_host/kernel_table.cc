#include "testing/metal_host/kernel_table.h"

#include <fmt/format.h>

#include "testing/metal_host/rewrite.h"

namespace decant::metal_host {
namespace {

// The function constants that a kernel needs: those it may read, directly or through what it calls.
std::vector<std::string> constants_of(const KernelTable& table, const KernelSource& kernel) {
  std::set<std::string> reached;
  std::vector<std::string> open(kernel.identifiers.begin(), kernel.identifiers.end());
  while (!open.empty()) {
    const std::string name = std::move(open.back());
    open.pop_back();
    if (!reached.insert(name).second) continue;
    const auto found = table.mentions.find(name);
    if (found != table.mentions.end())
      open.insert(open.end(), found->second.begin(), found->second.end());
  }
  std::vector<std::string> constants;
  for (const ConstantSource& constant : table.constants)
    if (reached.contains(constant.name) && !table.optional_constants.contains(constant.name))
      constants.push_back(constant.name);
  return constants;
}

}  // namespace

std::string print(const KernelTable& table) {
  std::string entries, rows;
  int number = 0;
  for (const KernelName& name : table.names) {
    const auto found = table.kernels.find(name.function);
    if (found == table.kernels.end())
      throw SourceError(fmt::format("error: host_name(\"{}\") names {}, which is no kernel",
                                    name.host_name, name.function));
    const KernelSource& kernel = found->second;
    const std::string code = "&" + name.function + name.template_arguments;
    std::string params, uses;
    for (const ParamSource& param : kernel.params)
      params += fmt::format(
          "  {{::metal_host::ParamKind::{}, ({}), \"{}\", bool({}), false, false, 0, 1}},\n",
          param.kind, param.index, param.name, param.condition);
    for (const std::string& constant : constants_of(table, kernel))
      uses += fmt::format("\"{}\", ", constant);
    entries += fmt::format(
        "static ::metal_host::Param metal_host_params_{0}[] = {{\n{1}  {{}}}};\n"
        "static const char* const metal_host_uses_{0}[] = {{{2}nullptr}};\n"
        "static void metal_host_entry_{0}() {{ ::metal_host::call({3}, metal_host_params_{0}); "
        "}}\n",
        number, params, uses, code);
    rows += fmt::format(
        "    {{\"{1}\", metal_host_entry_{0}, (const void*)({2}),\n"
        "     ::metal_host::describe({2}, metal_host_params_{0}), {3}, unsigned({4}),\n"
        "     metal_host_uses_{0}}},\n",
        number, name.host_name, code, kernel.params.size(), kernel.max_threads);
    ++number;
  }
  std::string constants;
  for (const ConstantSource& constant : table.constants)
    constants += fmt::format(
        "    {{unsigned({}), \"{}\", sizeof({}), ::metal_host::TypeName<{}>::value}},\n",
        constant.index, constant.name, constant.type, constant.type);
  return fmt::format(
      "\n# 1 \"kernel table\"\n{}\n"
      "extern \"C\" const ::metal_host::Library* metal_host_library() {{\n"
      "  static const ::metal_host::Kernel kernels[] = {{\n{}    {{}}}};\n"
      "  static const ::metal_host::FunctionConstant constants[] = {{\n{}    {{}}}};\n"
      "  static const ::metal_host::Library library = {{\n"
      "      kernels, {}, constants, {}, __start_metal_host_variables,\n"
      "      __stop_metal_host_variables}};\n"
      "  return &library;\n}}\n",
      entries, rows, constants, table.names.size(), table.constants.size());
}

}  // namespace decant::metal_host
