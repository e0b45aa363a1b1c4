// What the subcommands share: their registration, and options for model, device and numbers.
#ifndef DECANT_TOOLS_DECANT_COMMON_H_
#define DECANT_TOOLS_DECANT_COMMON_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "decant/core/device.h"
#include "decant/formats/gguf.h"
#include "decant/kernels/activations.h"

namespace decant::cli {

// Runs a subcommand whose options have been parsed and returns the exit code.
using Command = std::function<int()>;

// Each adds its subcommand to `app`; if the command line names it, `chosen` is set.
void add_generate(CLI::App& app, Command& chosen);
void add_bench(CLI::App& app, Command& chosen);
void add_bench_op(CLI::App& app, Command& chosen);
void add_perplexity(CLI::App& app, Command& chosen);
void add_tokenize(CLI::App& app, Command& chosen);
void add_info(CLI::App& app, Command& chosen);
void add_devices(CLI::App& app, Command& chosen);
void add_synth_model(CLI::App& app, Command& chosen);

// --- Model: -m, by default Gemma 3 270M where scripts/fetch-model puts it.
void add_model_option(CLI::App& app, std::string& path);
// An empty path stands for the default one. Throws what GgufFile::open throws; if the default file
// is missing, the message names it and says how to get it.
GgufFile open_model(const std::string& path);

// --activations f32|q8, of ModelOptions.
void add_activations_option(CLI::App& app, Activations& activations);

// --- Device: --device and -t.
struct DeviceOptions {
  std::string name = "cpu";
  uint32_t threads = 0;  // 0: physical cores
};
void add_device_option(CLI::App& app, DeviceOptions& options);
void add_threads_option(CLI::App& app, DeviceOptions& options);
// Throws DeviceNotFound naming the devices that there are, or what a GPU lacks.
Device open_device(const DeviceOptions& options);

// --- Numbers. "expected 0 to 1, got 7" with the option's name before it. NaN is not in any range.
CLI::Validator between(double min, double max);
// "512,1024" as numbers of [min, max]. Throws UsageError naming `option`.
std::vector<uint32_t> parse_list(std::string_view option, std::string_view text, uint32_t min,
                                 uint32_t max);

// One of `formats`, for -o.
void add_format_option(CLI::App& app, std::string& format, std::vector<std::string> formats);

// "235.16 MiB"
std::string mebibytes(uint64_t bytes);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_COMMON_H_
