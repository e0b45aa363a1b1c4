// decant bench-op: one op, measured against what the machine can do at best.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <span>

#include "decant/core/encoder.h"
#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_vec/cases.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "tools/decant/common.h"
#include "tools/decant/console.h"
#include "tools/decant/graph_timing.h"
#include "tools/decant/roofline.h"
#include "tools/decant/simd.h"

namespace decant::cli {
namespace {

constexpr const char* kOp = "flash_attn_vec";

struct Options {
  std::string op;
  std::vector<std::string> shapes;
  std::string kv_dtype = "f16";
  uint32_t kv_capacity = 0;  // 0: as many as keys
  uint64_t rotate_mb = 256;
  double seconds = 1.0;
  std::string format = "md";
  std::string simd;
  DeviceOptions device;
};

struct AttnShape {
  uint32_t head_dim, num_heads, num_kv_heads, kv_seq_len;
  uint32_t kv_capacity;

  std::string to_string() const {
    return fmt::format("{},{},{},{}", head_dim, num_heads, num_kv_heads, kv_seq_len);
  }
  double kv_bytes() const { return 2.0 * num_kv_heads * kv_seq_len * head_dim * 2; }
  // Keys of a cache, or values; only those of kv_seq_len slots a head are read.
  size_t cache_bytes() const { return size_t{num_kv_heads} * kv_capacity * head_dim * 2; }
  // Each key and value is read once; q is read, out is written.
  double bytes() const { return kv_bytes() + 2.0 * num_heads * head_dim * 4; }
  // A multiply-add for each element of each key and each value, per query head.
  double flops() const { return 4.0 * head_dim * num_heads * kv_seq_len; }
};

AttnShape make_shape(const Options& options, std::span<const uint32_t, 4> n) {
  if (options.kv_capacity != 0 && options.kv_capacity < n[3])
    throw UsageError(
        fmt::format("bench-op: --kv-capacity: must hold the {} keys of a shape, got {}", n[3],
                    options.kv_capacity));
  return {n[0], n[1], n[2], n[3], options.kv_capacity ? options.kv_capacity : n[3]};
}

AttnShape parse_shape(const Options& options, const std::string& text) {
  const std::vector<uint32_t> n = parse_list("bench-op: --shape", text, 1, UINT32_MAX);
  if (n.size() != 4)
    throw UsageError(fmt::format("bench-op: --shape: expected D,HQ,HKV,KV, got '{}'", text));
  return make_shape(options, std::span<const uint32_t, 4>(n));
}

std::vector<AttnShape> shapes_of(const Options& options, const Device& device) {
  std::vector<AttnShape> shapes;
  for (const std::string& text : options.shapes) shapes.push_back(parse_shape(options, text));
  const auto add = [&](const auto& rows) {
    for (const auto& row : rows) shapes.push_back(make_shape(options, row));
  };
  if (shapes.empty() && device.info().backend == BackendKind::kCpu) add(kFlashAttnVecBench);
  if (shapes.empty()) add(kFlashAttnVecGpuBench);
  return shapes;
}

// Random f16 values of N(0, 1), a block of them over and over: every page is a page of its own.
void fill(const Device& device, const Buffer& memory) {
  constexpr size_t kBlock = size_t{1} << 18;
  std::mt19937 bits(1);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> block(std::min<size_t>(kBlock, memory.elements()));
  for (uint16_t& value : block) value = f16_from_f32(normal(bits));
  for (uint64_t at = 0; at < memory.elements(); at += block.size()) {
    const uint64_t n = std::min<uint64_t>(block.size(), memory.elements() - at);
    device.write(memory.slice(at * sizeof(uint16_t), Shape{n}),
                 std::as_bytes(std::span(block).first(n)));
  }
}

// Medians of one shape: seconds of a call, and the limits measured between the calls.
struct Measured {
  double seconds;
  Roofline roofline;
};

// The calls that are measured, each with K and V of its own.
std::vector<FlashAttnVecArgs> calls_of(const Device& device, const Buffer& memory,
                                       const AttnShape& shape) {
  const Shape cache{shape.num_kv_heads, shape.kv_capacity, shape.head_dim};
  const size_t cache_bytes = shape.cache_bytes();
  // Where the keys fill a part of the slots only, several caches lie over each other, each with its
  // keys in slots that the others do not use.
  const size_t shifts = shape.kv_capacity / shape.kv_seq_len;
  const size_t shift_bytes = size_t{shape.kv_seq_len} * shape.head_dim * 2;
  const size_t places = (memory.byte_len() - (shifts - 1) * shift_bytes) / (2 * cache_bytes);
  std::vector<FlashAttnVecArgs> calls;
  std::mt19937 bits(2);
  std::normal_distribution<float> normal;
  std::vector<float> query(size_t{shape.num_heads} * shape.head_dim);
  for (float& value : query) value = normal(bits);
  const Shape rows{shape.num_heads, shape.head_dim};
  const Buffer q = device.upload(std::span<const float>(query), DType::kF32, rows);
  const Buffer out = device.buffer(DType::kF32, rows);
  for (size_t i = 0; i < places * shifts; ++i) {
    const size_t at = i / shifts * 2 * cache_bytes + i % shifts * shift_bytes;
    calls.push_back({.q = q,
                     .k = memory.slice(at, cache),
                     .v = memory.slice(at + cache_bytes, cache),
                     .out = out,
                     .kv_seq_len = shape.kv_seq_len,
                     .scale = 1.0f / std::sqrt(static_cast<float>(shape.head_dim))});
  }
  return calls;
}

// Calls that the host waits for, each with the next K and V.
Measured measure_alone(const Device& device, const std::vector<FlashAttnVecArgs>& calls,
                       double min_seconds, RooflineMeter& roofline) {
  CommandEncoder encoder(device);
  std::vector<double> samples;
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  size_t next = 0;
  constexpr size_t kWarmUp = 3, kMinCalls = 5;  // a round
  constexpr int kRounds = 5;
  roofline.start();
  for (int round = 0; round < kRounds; ++round) {
    roofline.measure();
    const auto begin = Clock::now();
    for (size_t call = 0;
         call < kWarmUp + kMinCalls || seconds(Clock::now() - begin) < min_seconds / kRounds;
         ++call) {
      const FlashAttnVecArgs& args = calls[next++ % calls.size()];
      const auto start = Clock::now();
      flash_attn_vec(encoder, args);
      encoder.commit_and_wait();
      if (call >= kWarmUp) samples.push_back(seconds(Clock::now() - start));
    }
  }
  roofline.measure();
  return {median(samples), roofline.median()};
}

// Median seconds of a call in a graph that serves a growing cache: the live length is in a buffer.
double measure_in_graph(const Device& device, std::vector<FlashAttnVecArgs> calls,
                        const AttnShape& shape, double min_seconds) {
  const FlashAttnVecParams params{.num_heads = shape.num_heads,
                                  .num_kv_heads = shape.num_kv_heads,
                                  .head_dim = shape.head_dim,
                                  .kv_seq_len = shape.kv_seq_len,
                                  .kv_capacity = shape.kv_capacity,
                                  .scale = calls[0].scale,
                                  .mask_type = 0,
                                  .sliding_window = 0,
                                  .ring_start = 0};
  const Buffer in_buffer = device.buffer(DType::kU32, {sizeof(params) / sizeof(uint32_t)});
  device.write(in_buffer, std::as_bytes(std::span(&params, 1)));
  for (FlashAttnVecArgs& args : calls) args.params = in_buffer;
  return seconds_in_graph(
      device, calls_in_graph(shape.kv_bytes()),
      [&](CommandEncoder& encoder, size_t i) { flash_attn_vec(encoder, calls[i % calls.size()]); },
      min_seconds);
}

// The least time in which a graph reads the shape's K and V and does nothing else.
double read_only_in_graph(const Device& device, const Buffer& memory, const AttnShape& shape) {
  const auto part_bytes = static_cast<uint64_t>(shape.kv_bytes());
  std::vector<Buffer> parts;
  for (uint64_t at = 0; at + part_bytes <= memory.byte_len(); at += part_bytes)
    parts.push_back(memory.slice(at, DType::kU8, {part_bytes}));
  return read_only_seconds(device, parts);
}

Measured measure_on_gpu(const Device& device, const Buffer& memory,
                        const std::vector<FlashAttnVecArgs>& calls, const AttnShape& shape,
                        double min_seconds) {
  return {measure_in_graph(device, calls, shape, min_seconds),
          {.bytes_per_s = shape.bytes() / read_only_in_graph(device, memory, shape),
           .flops_per_s = std::numeric_limits<double>::infinity()}};
}

struct Row {
  double us, gbps, gflops, roofline_us, roofline_pct;
  const char* bound;  // what the roofline is made of
};

Row row_of(const AttnShape& shape, const Measured& measured) {
  const double seconds = measured.seconds;
  const Roofline& limit = measured.roofline;
  const double best = limit.seconds(shape.bytes(), shape.flops());
  return {.us = seconds * 1e6,
          .gbps = shape.bytes() / seconds / 1e9,
          .gflops = shape.flops() / seconds / 1e9,
          .roofline_us = best * 1e6,
          .roofline_pct = 100 * best / seconds,
          .bound = shape.bytes() * limit.flops_per_s > shape.flops() * limit.bytes_per_s ? "bytes"
                                                                                         : "flops"};
}

void report_json(const Device& device, const Options& options, const std::vector<AttnShape>& shapes,
                 const std::vector<Measured>& measured) {
  Json rows = Json::array();
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Row row = row_of(shapes[i], measured[i]);
    rows.push_back({{"op", kOp},
                    {"device", device.name()},
                    {"shape", shapes[i].to_string()},
                    {"kv_dtype", options.kv_dtype},
                    {"n_threads", device.info().compute_units},
                    {"us", row.us},
                    {"gbps", row.gbps},
                    {"gflops", row.gflops},
                    {"roofline_us", row.roofline_us},
                    {"roofline_pct", row.roofline_pct},
                    {"reads_gbps", measured[i].roofline.bytes_per_s / 1e9}});
    // A GPU's is not measured.
    const double flops = measured[i].roofline.flops_per_s;
    if (!std::isinf(flops)) rows.back()["fma_gflops"] = flops / 1e9;
  }
  print_json(rows);
}

void report_md(const Device& device, const Options& options, const std::vector<AttnShape>& shapes,
               const std::vector<Measured>& measured, uint64_t rotate_mib) {
  const bool in_graph = device.info().asynchronous;
  put("{}, {}, {} {}. K and V rotate through {} MiB. {}\n\n", device.name(),
      device.info().capability, device.info().compute_units,
      in_graph ? "multiprocessors" : "threads", rotate_mib,
      in_graph ? "Calls in a graph; the roofline is the fastest\n"
                 "kernel that only reads K and V, in a graph of the same run."
               : "The roofline is the greater of bytes / reads\n"
                 "and flops / FMA, both measured between the calls of the row.");
  put("| op             | shape D,HQ,HKV,KV | kv_dtype | threads |         us |    GB/s |  GFLOP/s "
      "| reads GB/s | FMA GFLOP/s | roofline us | bound | % roofline |\n"
      "| -------------- | ----------------: | -------- | ------: | ---------: | ------: | -------: "
      "| ---------: | ----------: | ----------: | ----- | ---------: |\n");
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Row row = row_of(shapes[i], measured[i]);
    const double flops = measured[i].roofline.flops_per_s;
    const std::string fma = std::isinf(flops) ? "-" : fmt::format("{:.1f}", flops / 1e9);
    put("| {:<14} | {:>17} | {:<8} | {:>7} | {:>10.2f} | {:>7.1f} | {:>8.1f} | {:>10.1f} | "
        "{:>11} | {:>11.2f} | {:<5} | {:>10.1f} |\n",
        kOp, shapes[i].to_string(), options.kv_dtype, device.info().compute_units, row.us, row.gbps,
        row.gflops, measured[i].roofline.bytes_per_s / 1e9, fma, row.roofline_us, row.bound,
        row.roofline_pct);
  }
}

int run(const Options& options) {
  if (options.op != kOp)
    throw UsageError(fmt::format("bench-op: no such op '{}'; there is: {}", options.op, kOp));
  if (options.kv_dtype != "f16")
    fail(ErrorKind::kUnsupportedDtype, "bench-op: {}: --kv-dtype: must be f16, got {}", kOp,
         options.kv_dtype);
  if (!options.simd.empty()) force_simd(options.simd);
  const Device device = open_device(options.device);
  const std::vector<AttnShape> shapes = shapes_of(options, device);

  // At least one K and V of each shape, shifted by less than one more cache; a whole number of MiB.
  double largest = static_cast<double>(options.rotate_mb << 20);
  for (const AttnShape& shape : shapes) {
    const double shifted = shape.kv_capacity - shape.kv_capacity % shape.kv_seq_len;
    const double caches = 4.0 * shape.num_kv_heads * shape.kv_capacity * shape.head_dim;
    largest = std::max(largest, caches + 2.0 * shape.head_dim * (shifted - shape.kv_seq_len));
  }
  require(largest < 1e15, "bench-op: --shape: K and V of {} bytes are too large", largest);
  const uint64_t mib = (static_cast<uint64_t>(largest) + (1 << 20) - 1) >> 20;
  const Buffer memory = device.buffer(DType::kF16, {mib << 19});
  fill(device, memory);

  std::unique_ptr<RooflineMeter> roofline;  // a GPU's is measured by graphs
  if (!device.info().asynchronous) roofline = std::make_unique<RooflineMeter>(device, memory);
  std::vector<Measured> measured;
  for (const AttnShape& shape : shapes) {
    if (is_terminal(Stream::kStderr)) say(fmt::format("measuring {}", shape.to_string()));
    const auto calls = calls_of(device, memory, shape);
    measured.push_back(roofline ? measure_alone(device, calls, options.seconds, *roofline)
                                : measure_on_gpu(device, memory, calls, shape, options.seconds));
  }
  if (options.format == "json")
    report_json(device, options, shapes, measured);
  else
    report_md(device, options, shapes, measured, mib);
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
  sub->add_option("--kv-capacity", options->kv_capacity,
                  "Slots of a cache, of which the keys fill the first (default: as many as keys)")
      ->type_name("SLOTS");
  sub->add_option("--kv-dtype", options->kv_dtype, "Type of keys and values: f16")
      ->type_name("TYPE")
      ->capture_default_str();
  add_device_option(*sub, options->device);
  add_threads_option(*sub, options->device);
  sub->add_option("--simd", options->simd,
                  "Instruction set, of those this CPU has (default: the best): sse4, avx2, ...")
      ->type_name("NAME");
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
      "between\n"
      "the calls with the same threads: the least time in which the bytes (K and V once, q and "
      "out)\n"
      "can be read and the multiply-adds done. On a GPU the calls are in a graph, the live length "
      "is\n"
      "in a buffer, and the roofline is the fastest kernel that only reads K and V, in a graph as\n"
      "well.\n"
      "Example: decant bench-op flash_attn_vec --shape 256,4,1,4096 --shape 256,16,8,4096 -t 2");
  sub->callback([options, &chosen] { chosen = [options] { return run(*options); }; });
}

}  // namespace decant::cli
