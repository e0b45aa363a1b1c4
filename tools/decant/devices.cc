// decant devices: what this machine can run on.
#include <algorithm>
#include <memory>
#include <vector>

#include "decant/core/error.h"
#include "decant/cuda/devices.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"

namespace decant::cli {
namespace {

struct Options {
  std::string format = "md";
};

struct Row {
  std::string device;  // what --device takes
  DeviceInfo info;

  std::string units() const {
    if (info.compute_units == 0) return "-";  // Metal does not tell
    return fmt::format("{} {}", info.compute_units,
                       info.backend == BackendKind::kCpu ? "threads" : "SMs");
  }
};

int run(const Options& options) {
  std::vector<Row> rows = {{"cpu", Device::cpu().info()}};
  const cuda::Listing gpus = cuda::list_devices();
  for (size_t i = 0; i < gpus.devices.size(); ++i)
    rows.push_back({fmt::format("cuda:{}", i), gpus.devices[i]});
  std::string metal_problem;
  try {
    rows.push_back({"metal", Device::metal().info()});
  } catch (const Error& e) {
    metal_problem = e.what();
  }

  if (options.format == "json") {
    Json all = Json::array();
    for (const Row& row : rows)
      all.push_back({{"device", row.device},
                     {"name", row.info.name},
                     {"capability", row.info.capability},
                     {row.info.backend == BackendKind::kCpu ? "n_threads" : "n_multiprocessors",
                      row.info.compute_units},
                     {"memory_bytes", row.info.memory_bytes}});
    print_json(all);
  } else {
    size_t width = 4;
    for (const Row& row : rows) width = std::max(width, row.info.name.size());
    put("| device | {:<{}} | capability | {:>12} | {:>10} |\n", "name", width, "units", "memory");
    put("| ------ | {:-<{}} | ---------- | -----------: | ---------: |\n", "", width);
    for (const Row& row : rows)
      put("| {:<6} | {:<{}} | {:<10} | {:>12} | {:>10} |\n", row.device, row.info.name, width,
          row.info.capability, row.units(),
          fmt::format("{:.1f} GiB", static_cast<double>(row.info.memory_bytes) / (1 << 30)));
  }
  flush();
  if (!gpus.problem.empty()) say(gpus.problem);
  if (!metal_problem.empty()) say(metal_problem);
  return kSuccess;
}

}  // namespace

void add_devices(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("devices", "List the devices of this machine");
  add_format_option(*sub, options->format, {"md", "json"});
  sub->footer(
      "`capability` is the best instruction set that will be used, the CPU's threads are the "
      "default\n"
      "of -t. Why a GPU cannot be used is said on stderr.\n"
      "Example: decant devices -o json");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
