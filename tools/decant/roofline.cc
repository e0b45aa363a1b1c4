#include "tools/decant/roofline.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <numeric>

#include "decant/core/encoder.h"
#include "tools/decant/roofline_kernels.h"

namespace decant::cli {
namespace {

constexpr uint32_t kPartBytes = 16 << 20;

struct Kernels {
  Kernel read, fma;
};

const Kernels& kernels_of(const Device& device) {
  return device.registry().once<Kernels>([](KernelRegistry& registry) {
    registry.add({.name = "roofline_read", .cpu = &cpu::roofline_read});
    registry.add({.name = "roofline_fma", .cpu = &cpu::roofline_fma});
    return Kernels{registry.resolve("roofline_read"), registry.resolve("roofline_fma")};
  });
}

// The fastest of many passes: whatever else runs on the machine only makes them slower. A pass is
// to take about a millisecond, so that most are not interrupted.
double best_seconds(const std::function<void()>& pass) {
  using Clock = std::chrono::steady_clock;
  constexpr auto kDuration = std::chrono::milliseconds(200);
  constexpr int kLeastPasses = 6;
  Clock::duration best = Clock::duration::max();
  const auto begin = Clock::now();
  for (int i = 0; i < kLeastPasses || Clock::now() - begin < kDuration; ++i) {
    const auto start = Clock::now();
    pass();
    best = std::min(best, Clock::now() - start);
  }
  return std::chrono::duration<double>(best).count();
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

void RooflineMeter::measure() {
  const Kernels& kernels = kernels_of(encoder_.device());
  size_t next = 0;
  const double read_seconds = best_seconds([&] {
    encoder_.dispatch(kernels.read, {reads(parts_[next++ % parts_.size()]), writes(checksums_)},
                      {.grid = {kPartBytes / cpu::kReadGroupBytes}});
    encoder_.commit_and_wait();
  });
  best_.bytes_per_s = std::max(best_.bytes_per_s, static_cast<double>(kPartBytes) / read_seconds);

  const double fma_seconds = best_seconds([&] {
    encoder_.dispatch(kernels.fma, {writes(flops_)},
                      {.grid = {static_cast<uint32_t>(flops_.elements())}});
    encoder_.commit_and_wait();
  });
  const auto counts = flops_.span<double>();
  best_.flops_per_s =
      std::max(best_.flops_per_s, std::accumulate(counts.begin(), counts.end(), 0.0) / fma_seconds);
}

}  // namespace decant::cli
