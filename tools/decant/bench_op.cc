// decant bench-op: one op, measured against what the machine can do at best.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>

#include "decant/core/encoder.h"
#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_vec/cases.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"
#include "tools/decant/roofline.h"

namespace decant::cli {
namespace {

constexpr const char* kOp = "flash_attn_vec";

struct Options {
  std::string op;
  std::vector<std::string> shapes;
  std::string kv_dtype = "f16";
  uint64_t rotate_mb = 256;
  double seconds = 1.0;
  std::string format = "md";
  DeviceOptions device;
};

struct AttnShape {
  uint32_t head_dim, num_heads, num_kv_heads, kv_seq_len;

  std::string to_string() const {
    return fmt::format("{},{},{},{}", head_dim, num_heads, num_kv_heads, kv_seq_len);
  }
  double kv_bytes() const { return 2.0 * num_kv_heads * kv_seq_len * head_dim * 2; }
  // Each key and value is read once; q is read, out is written.
  double bytes() const { return kv_bytes() + 2.0 * num_heads * head_dim * 4; }
  // A multiply-add for each element of each key and each value, per query head.
  double flops() const { return 4.0 * head_dim * num_heads * kv_seq_len; }
};

AttnShape parse_shape(const std::string& text) {
  const std::vector<uint32_t> n = parse_list("bench-op: --shape", text, 1, UINT32_MAX);
  if (n.size() != 4)
    throw UsageError(fmt::format("bench-op: --shape: expected D,HQ,HKV,KV, got '{}'", text));
  return {n[0], n[1], n[2], n[3]};
}

std::vector<AttnShape> shapes_of(const Options& options) {
  std::vector<AttnShape> shapes;
  for (const std::string& text : options.shapes) shapes.push_back(parse_shape(text));
  if (shapes.empty())
    for (const auto& row : kFlashAttnVecBench) shapes.push_back({row[0], row[1], row[2], row[3]});
  return shapes;
}

// Random f16 values of N(0, 1), a block of them over and over: every page is a page of its own.
void fill(const Buffer& memory) {
  constexpr size_t kBlock = size_t{1} << 18;
  std::mt19937 bits(1);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> block(std::min<size_t>(kBlock, memory.elements()));
  for (uint16_t& value : block) value = f16_from_f32(normal(bits));
  const auto to = memory.span<uint16_t>();
  for (size_t at = 0; at < to.size(); at += block.size())
    std::memcpy(&to[at], block.data(), std::min(block.size(), to.size() - at) * sizeof(uint16_t));
}

// Median seconds of a call. Each call takes the next K and V of `memory`.
double measure(const Device& device, const Buffer& memory, const AttnShape& shape,
               double min_seconds) {
  const Shape cache{shape.num_kv_heads, shape.kv_seq_len, shape.head_dim};
  const size_t cache_bytes = bytes_of(DType::kF16, cache.elements());
  const size_t sets = memory.byte_len() / (2 * cache_bytes);
  std::vector<FlashAttnVecArgs> calls;
  std::mt19937 bits(2);
  std::normal_distribution<float> normal;
  std::vector<float> query(size_t{shape.num_heads} * shape.head_dim);
  for (float& value : query) value = normal(bits);
  const Shape rows{shape.num_heads, shape.head_dim};
  const Buffer q = device.upload(std::span<const float>(query), DType::kF32, rows);
  const Buffer out = device.buffer(DType::kF32, rows);
  for (size_t i = 0; i < sets; ++i)
    calls.push_back({.q = q,
                     .k = memory.slice(2 * i * cache_bytes, cache),
                     .v = memory.slice((2 * i + 1) * cache_bytes, cache),
                     .out = out,
                     .kv_seq_len = shape.kv_seq_len,
                     .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim))});

  CommandEncoder encoder(device);
  std::vector<double> samples;
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  size_t next = 0;
  constexpr size_t kWarmUp = 5, kMinCalls = 20;
  const auto begin = Clock::now();
  while (samples.size() < kWarmUp + kMinCalls || seconds(Clock::now() - begin) < min_seconds) {
    const FlashAttnVecArgs& args = calls[next++ % sets];
    const auto start = Clock::now();
    flash_attn_vec(encoder, args);
    encoder.commit_and_wait();
    samples.push_back(seconds(Clock::now() - start));
  }
  samples.erase(samples.begin(), samples.begin() + kWarmUp);
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

struct Row {
  double us, gbps, gflops, roofline_us, roofline_pct;
};

Row row_of(const AttnShape& shape, double seconds, const Roofline& roofline) {
  const double best = roofline.seconds(shape.bytes(), shape.flops());
  return {.us = seconds * 1e6,
          .gbps = shape.bytes() / seconds / 1e9,
          .gflops = shape.flops() / seconds / 1e9,
          .roofline_us = best * 1e6,
          .roofline_pct = 100 * best / seconds};
}

void report_json(const Device& device, const Options& options, const std::vector<AttnShape>& shapes,
                 const std::vector<double>& seconds, const Roofline& roofline) {
  Json rows = Json::array();
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Row row = row_of(shapes[i], seconds[i], roofline);
    rows.push_back({{"op", kOp},
                    {"device", device.name()},
                    {"shape", shapes[i].to_string()},
                    {"kv_dtype", options.kv_dtype},
                    {"n_threads", device.info().compute_units},
                    {"us", row.us},
                    {"gbps", row.gbps},
                    {"gflops", row.gflops},
                    {"roofline_us", row.roofline_us},
                    {"roofline_pct", row.roofline_pct}});
  }
  print_json(rows);
}

void report_md(const Device& device, const Options& options, const std::vector<AttnShape>& shapes,
               const std::vector<double>& seconds, const Roofline& roofline, uint64_t rotate_mib) {
  put("{}, {}, {} threads: reads {:.1f} GB/s, {:.1f} GFLOP/s. K and V rotate through {} MiB.\n\n",
      device.name(), device.info().capability, device.info().compute_units,
      roofline.bytes_per_s / 1e9, roofline.flops_per_s / 1e9, rotate_mib);
  put("| op             | shape D,HQ,HKV,KV | kv_dtype | threads |         us |    GB/s |  GFLOP/s "
      "| roofline us | % roofline |\n"
      "| -------------- | ----------------: | -------- | ------: | ---------: | ------: | -------: "
      "| ----------: | ---------: |\n");
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Row row = row_of(shapes[i], seconds[i], roofline);
    put("| {:<14} | {:>17} | {:<8} | {:>7} | {:>10.2f} | {:>7.1f} | {:>8.1f} | {:>11.2f} | "
        "{:>10.1f} |\n",
        kOp, shapes[i].to_string(), options.kv_dtype, device.info().compute_units, row.us, row.gbps,
        row.gflops, row.roofline_us, row.roofline_pct);
  }
}

int run(const Options& options) {
  if (options.op != kOp)
    throw UsageError(fmt::format("bench-op: no such op '{}'; there is: {}", options.op, kOp));
  if (options.kv_dtype != "f16")
    fail(ErrorKind::kUnsupportedDtype, "bench-op: {}: --kv-dtype: must be f16, got {}", kOp,
         options.kv_dtype);
  const std::vector<AttnShape> shapes = shapes_of(options);
  const Device device = open_device(options.device);

  // At least one K and V of each shape, a whole number of MiB.
  double largest = static_cast<double>(options.rotate_mb << 20);
  for (const AttnShape& shape : shapes) largest = std::max(largest, shape.kv_bytes());
  require(largest < 1e15, "bench-op: --shape: K and V of {} bytes are too large", largest);
  const uint64_t mib = (static_cast<uint64_t>(largest) + (1 << 20) - 1) >> 20;
  const Buffer memory = device.buffer(DType::kF16, {mib << 19});
  fill(memory);

  RooflineMeter roofline(device, memory);
  roofline.measure();
  std::vector<double> seconds;
  for (const AttnShape& shape : shapes) {
    if (is_terminal(Stream::kStderr)) say(fmt::format("measuring {}", shape.to_string()));
    seconds.push_back(measure(device, memory, shape, options.seconds));
    roofline.measure();
  }
  if (options.format == "json")
    report_json(device, options, shapes, seconds, roofline.best());
  else
    report_md(device, options, shapes, seconds, roofline.best(), mib);
  return kSuccess;
}

}  // namespace

void add_bench_op(CLI::App& app, Command& chosen) {
  auto options = std::make_shared<Options>();
  CLI::App* sub = app.add_subcommand("bench-op", "Measure one op against the machine's limits");
  sub->add_option("op", options->op, "The op: flash_attn_vec")->type_name("OP")->required();
  sub->add_option("--shape", options->shapes,
                  "head_dim, query heads, KV heads, keys; repeatable (default: a table)")
      ->type_name("D,HQ,HKV,KV")
      ->allow_extra_args(false);
  sub->add_option("--kv-dtype", options->kv_dtype, "Type of keys and values: f16")
      ->type_name("TYPE")
      ->capture_default_str();
  add_device_option(*sub, options->device);
  add_threads_option(*sub, options->device);
  add_format_option(*sub, options->format, {"md", "json"});
  sub->add_option("--seconds", options->seconds, "Least time to measure a shape for")
      ->type_name("S")
      ->check(between(0, 3600))
      ->capture_default_str();
  sub->add_option("--rotate-mb", options->rotate_mb,
                  "K and V rotate through so much memory, past the caches")
      ->type_name("MIB")
      ->check(between(256, 1 << 20))
      ->capture_default_str();
  sub->footer(
      "A time is the median of many calls, each with the next K and V. The roofline is measured "
      "in\n"
      "the same run with the same threads: the least time in which the bytes (K and V once, q and\n"
      "out) can be read and the multiply-adds done.\n"
      "Example: decant bench-op flash_attn_vec --shape 256,4,1,4096 --shape 256,16,8,4096 -t 2");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
