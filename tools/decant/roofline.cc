#include "tools/decant/roofline.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>

#include "decant/core/encoder.h"

namespace decant::cli {
namespace {

constexpr uint32_t kPartBytes = 32 << 20;

struct Kernels {
  Kernel read[cpu::kReadWays], fma;
};

const Kernels& kernels_of(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "roofline_read_1", .cpu = &cpu::roofline_read_1});
    registry.add({.name = "roofline_read_4", .cpu = &cpu::roofline_read_4});
    registry.add({.name = "roofline_read_2_plain", .cpu = &cpu::roofline_read_2_plain});
    registry.add({.name = "roofline_fma", .cpu = &cpu::roofline_fma});
    return Kernels{{registry.resolve("roofline_read_1"), registry.resolve("roofline_read_4"),
                    registry.resolve("roofline_read_2_plain")},
                   registry.resolve("roofline_fma")};
  });
}

// Calls `pass` for about 30 ms and hands each one's seconds to `sample`.
void repeat(const std::function<void()>& pass, const std::function<void(double)>& sample) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kDuration = std::chrono::milliseconds(30);
  constexpr int kLeastPasses = 3;
  const auto begin = Clock::now();
  for (int i = 0; i < kLeastPasses || Clock::now() - begin < kDuration; ++i) {
    const auto start = Clock::now();
    pass();
    sample(std::chrono::duration<double>(Clock::now() - start).count());
  }
}

}  // namespace

double Roofline::seconds(double bytes, double flops) const {
  return std::max(bytes / bytes_per_s, flops / flops_per_s);
}

RooflineMeter::RooflineMeter(const Device& device, const Buffer& memory)
    : encoder_(device),
      checksums_(device.buffer(DType::kU32, {kPartBytes / cpu::kReadGroupBytes})),
      // Several groups a thread, so that one that starts late costs little.
      flops_(device.buffer(DType::kF64, {16 * device.info().compute_units})) {
  for (size_t at = 0; at + kPartBytes <= memory.byte_len(); at += kPartBytes)
    parts_.push_back(memory.slice(at, DType::kU8, {kPartBytes}));
}

void RooflineMeter::start() {
  for (std::vector<double>& samples : bytes_per_s_) samples.clear();
  flops_per_s_.clear();
}

void RooflineMeter::measure_reads() {
  const Kernels& kernels = kernels_of(encoder_.device());
  for (size_t way = 0; way < cpu::kReadWays; ++way)
    repeat(
        [&] {
          const Buffer& part = parts_[next_part_++ % parts_.size()];
          encoder_.dispatch(kernels.read[way], {reads(part), writes(checksums_)},
                            {.grid = {kPartBytes / cpu::kReadGroupBytes}});
          encoder_.commit_and_wait();
        },
        [&](double seconds) { bytes_per_s_[way].push_back(kPartBytes / seconds); });
}

void RooflineMeter::measure() {
  measure_reads();
  const Kernels& kernels = kernels_of(encoder_.device());
  repeat(
      [&] {
        encoder_.dispatch(kernels.fma, {writes(flops_)},
                          {.grid = {static_cast<uint32_t>(flops_.elements())}});
        encoder_.commit_and_wait();
      },
      [&](double seconds) {
        const auto counts = flops_.span<double>();
        flops_per_s_.push_back(std::accumulate(counts.begin(), counts.end(), 0.0) / seconds);
      });
}

Roofline RooflineMeter::median() const {
  Roofline result;
  for (std::vector<double> samples : bytes_per_s_)
    result.bytes_per_s = std::max(result.bytes_per_s, cli::median(samples));
  std::vector<double> flops = flops_per_s_;
  if (!flops.empty()) result.flops_per_s = cli::median(flops);
  return result;
}

double median(std::vector<double>& samples) {
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

}  // namespace decant::cli
