// decant devices: what this machine can run on.
#include <algorithm>
#include <memory>

#include "tools/decant/common.h"
#include "tools/decant/console.h"

namespace decant::cli {
namespace {

struct Options {
  std::string format = "md";
};

int run(const Options& options) {
  const DeviceInfo info = Device::cpu().info();
  if (options.format == "json") {
    print_json(Json::array({{{"device", to_string(info.backend)},
                             {"name", info.name},
                             {"capability", info.capability},
                             {"n_threads", info.compute_units},
                             {"memory_bytes", info.memory_bytes}}}));
    return kSuccess;
  }
  const std::string memory =
      fmt::format("{:.1f} GiB", static_cast<double>(info.memory_bytes) / (1 << 30));
  const size_t width = std::max<size_t>(info.name.size(), 4);
  put("| device | {:<{}} | capability | threads | {:>10} |\n", "name", width, "memory");
  put("| ------ | {:-<{}} | ---------- | ------: | ---------: |\n", "", width);
  put("| {:<6} | {} | {:<10} | {:>7} | {:>10} |\n", to_string(info.backend), info.name,
      info.capability, info.compute_units, memory);
  return kSuccess;
}

}  // namespace

void add_devices(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("devices", "List the devices of this machine");
  add_format_option(*sub, options->format, {"md", "json"});
  sub->footer(
      "`capability` is the best instruction set that will be used, `threads` the default of -t.\n"
      "Example: decant devices -o json");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
