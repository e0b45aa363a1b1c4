#include "tools/decant/graph_timing.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "decant/core/graph.h"

namespace decant::cli {
namespace {

struct ReadParams {
  uint64_t vectors;  // of 16 bytes
};

// UNROLL loads of 16 bytes a thread are under way at a time. The sum of random data is never the
// number that is asked for, which the compiler cannot know.
constexpr const char* kReadOnly = R"(
struct ReadParams {
  uint64_t vectors;
};

extern "C" __global__ void read_only(const ReadParams value, const ReadParams* in_buffer,
                                     const uint4* data, uint32_t* found) {
  const uint64_t n = in_buffer ? in_buffer->vectors : value.vectors;
  const uint64_t stride = uint64_t{gridDim.x} * blockDim.x;
  uint32_t sum = 0;
  for (uint64_t i = blockIdx.x * uint64_t{blockDim.x} + threadIdx.x; i < n; i += UNROLL * stride) {
    uint4 loaded[UNROLL];
#pragma unroll
    for (int j = 0; j < UNROLL; ++j)
      loaded[j] = i + j * stride < n ? __ldcs(data + i + j * stride) : uint4{};
#pragma unroll
    for (int j = 0; j < UNROLL; ++j)
      sum ^= loaded[j].x ^ loaded[j].y ^ loaded[j].z ^ loaded[j].w;
  }
  if (sum == 0x9E3779B9) found[blockIdx.x] = sum;
}
)";

constexpr uint32_t kUnrolls[] = {4, 8};
struct ReadKernels {
  Kernel unrolled[std::size(kUnrolls)];
};

const ReadKernels& read_kernels(const Device& device) {
  return device.registry().once<ReadKernels>([](KernelRegistry& registry) {
    ReadKernels kernels{};
    for (size_t i = 0; i < std::size(kUnrolls); ++i) {
      const std::string name = fmt::format("read_only_unroll{}", kUnrolls[i]);
      registry.add(
          {.name = name,
           .cuda = {
               .source = kReadOnly, .entry = "read_only", .constants = {{"UNROLL", kUnrolls[i]}}}});
      kernels.unrolled[i] = registry.resolve(name);
    }
    return kernels;
  });
}

}  // namespace

size_t calls_in_graph(double bytes) {
  constexpr double kLarge = 16 << 20;  // takes longer to read than starting a graph
  return bytes < kLarge ? 512 : 64;
}

double seconds_in_graph(const Device& device, size_t calls, const RecordCall& record,
                        double min_seconds) {
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    for (size_t i = 0; i < calls; ++i) record(encoder, i);
  });
  // Several runs are started at once, so that only the first waits for the host.
  constexpr int kRunsInSample = 4;
  constexpr size_t kMinSamples = 8;
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  const auto sample = [&] {
    const auto start = Clock::now();
    for (int i = 0; i < kRunsInSample; ++i) graph.replay();
    graph.wait();
    return seconds(Clock::now() - start) / (kRunsInSample * static_cast<double>(calls));
  };
  sample();  // raises the clocks
  std::vector<double> samples;
  const auto begin = Clock::now();
  while (samples.size() < kMinSamples || seconds(Clock::now() - begin) < min_seconds)
    samples.push_back(sample());
  const auto middle = samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2);
  std::nth_element(samples.begin(), middle, samples.end());
  return *middle;
}

double read_only_seconds(const Device& device, std::span<const Buffer> parts) {
  struct Form {
    uint32_t blocks_per_unit, threads;
  };
  constexpr Form kForms[] = {{1, 256}, {1, 512}, {1, 1024}, {2, 512}, {2, 1024}, {4, 512}};
  constexpr uint32_t kMostBlocks = 4;
  constexpr double kSecondsOfForm = 0.02;
  const uint32_t units = device.info().compute_units;
  const Buffer found = device.buffer(DType::kU32, {uint64_t{kMostBlocks} * units});
  const ReadParams params{parts[0].byte_len() / 16};
  const size_t calls = calls_in_graph(static_cast<double>(parts[0].byte_len()));
  double best = 0;
  for (const Kernel kernel : read_kernels(device).unrolled)
    for (const Form& form : kForms) {
      const double taken = seconds_in_graph(
          device, calls,
          [&](CommandEncoder& encoder, size_t i) {
            encoder.dispatch(kernel,
                             {bytes(params), reads(parts[i % parts.size()]), reads_writes(found)},
                             {.grid = {form.blocks_per_unit * units}, .group = {form.threads}});
          },
          kSecondsOfForm);
      if (best == 0 || taken < best) best = taken;
    }
  return best;
}

}  // namespace decant::cli
