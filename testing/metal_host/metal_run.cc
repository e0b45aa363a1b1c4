// metal-run: runs the kernels of a .metal file on the CPU, as a JSON file describes it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <exception>
#include <map>
#include <string>

#include "testing/metal_host/run_spec.h"

int main(int argc, char** argv) {
  using namespace decant::metal_host;
  CLI::App app("Runs Metal kernels on the CPU; testing/metal_host/README.md describes the JSON");
  std::string path;
  uint64_t seeds = 4;
  bool checked = false;
  RunOptions options;
  app.add_option("spec", path, "JSON file")->required();
  app.add_option("--seeds", seeds, "schedules to compare, the first two ascending and descending");
  app.add_flag("--checked", checked, "check every access: races, exact bounds; slower");
  app.add_flag("--allow-returned-lanes", options.allow_returned_lanes,
               "simd operations and barriers do without threads that have returned");
  CLI11_PARSE(app, argc, argv);
  try {
    RunSpec spec = read_spec(path);
    spec.options.checked = checked;
    std::map<std::string, std::vector<std::byte>> first;
    int different = 0;
    for (options.seed = 0; options.seed < seeds; ++options.seed) {
      const auto start = std::chrono::steady_clock::now();
      const auto contents = run(spec, options);
      const std::chrono::duration<double, std::milli> took =
          std::chrono::steady_clock::now() - start;
      fmt::print("seed {}: {:.1f} ms\n", options.seed, took.count());
      if (options.seed == 0) first = contents;
      for (const auto& [name, content] : contents)
        if (content != first[name]) {
          fmt::print("buffer '{}' differs from that of seed 0: threads race\n", name);
          ++different;
        }
    }
    for (const std::string& name : spec.print)
      fmt::print("{}: {}\n", name, format_values(spec.buffers[name].type, first[name], 64));
    return different == 0 ? 0 : 1;
  } catch (const Failure& failure) {
    fmt::print(stderr, "{}: {}\n", to_string(failure.kind), failure.what());
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
  }
  return 1;
}
