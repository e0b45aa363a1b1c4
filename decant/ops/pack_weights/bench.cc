// What loading a model costs: every weight is read once and written once.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <utility>
#include <vector>

#include "decant/core/device.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/pack_weights/pack_weights.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

// Weights rotate through 128 MB, past the caches, as a file's do.
void bench(benchmark::State& state, DType dtype, uint32_t rows, uint32_t cols, uint32_t threads) {
  const Device device = Device::cpu({.threads = threads});
  const std::vector<std::byte> random = testing::random_weights(dtype, uint64_t{rows} * cols, 1);
  std::vector<std::pair<Buffer, Buffer>> weights((size_t{128} << 20) / random.size() + 1);
  for (auto& [weight, out] : weights) {
    weight = device.buffer(dtype, {rows, cols});
    device.write(weight, random);
    out = device.buffer(*x16_of(dtype), {rows, cols});
  }
  CommandEncoder encoder(device);
  size_t next = 0;
  for (auto _ : state) {
    const auto& [weight, out] = weights[next++ % weights.size()];
    pack_weights(encoder, {.weight = weight, .out = out});
    encoder.commit_and_wait();
  }
  const auto& [weight, out] = weights[0];
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(weight.byte_len() + out.byte_len()));
}

const int kRegistered = [] {
  for (const uint32_t threads : {1u, 2u})
    for (const DType dtype : {DType::kQ4_0, DType::kQ5_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K})
      benchmark::RegisterBenchmark(
          fmt::format("pack_weights/{}/2048x2048/threads:{}", to_string(dtype), threads).c_str(),
          bench, dtype, 2048u, 2048u, threads)
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
  return 0;
}();

}  // namespace
}  // namespace decant
