#include <benchmark/benchmark.h>

#include <algorithm>
#include <vector>

#include "decant/ops/mat_mul/cases.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

// One call after the other, each with another copy of the weights, so that no cache holds them: as
// many copies as fill 288 MB. Counters: weights read per second, flops per second.
void bench(benchmark::State& state, const MatMulBench& c) {
  const auto threads = static_cast<uint32_t>(state.range(0));
  const Device device = Device::cpu({.threads = threads});
  const size_t weight_bytes = bytes_of(c.dtype, uint64_t{c.rows} * c.cols);
  const size_t copies = std::max<size_t>(1, (288u << 20) / weight_bytes);
  // Random rows repeated: random bits for all would take longer than the benchmark.
  const uint64_t some_rows = std::min<uint64_t>(c.rows, 256);
  const std::vector<std::byte> some = testing::random_weights(c.dtype, some_rows * c.cols, 1);
  const Buffer all = device.buffer(c.dtype, {copies * c.rows, c.cols});
  for (uint64_t row = 0; row + some_rows <= copies * c.rows; row += some_rows)
    device.write(all.rows(row, some_rows), some);

  std::vector<float> values(size_t{c.tokens} * c.cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 13) - 6;
  const Buffer x = device.upload<float>(values, DType::kF32, {c.tokens, c.cols}),
               out = device.buffer(DType::kF32, {c.tokens, c.rows});
  CommandEncoder encoder(device);
  size_t copy = 0;
  for (auto _ : state) {
    mat_mul(encoder, {.weight = all.rows(copy * c.rows, c.rows), .x = x, .out = out});
    encoder.commit_and_wait();
    copy = (copy + 1) % copies;
  }
  const auto rate = [&](double per_call) {
    return benchmark::Counter(per_call, benchmark::Counter::kIsIterationInvariantRate,
                              benchmark::Counter::kIs1000);
  };
  state.counters["bytes/s"] = rate(static_cast<double>(weight_bytes));
  state.counters["flop/s"] = rate(2.0 * c.rows * c.cols * c.tokens);
}

const int kRegistered = [] {
  for (const MatMulBench& c : kMatMulBenches)
    benchmark::RegisterBenchmark(
        fmt::format("mat_mul/{}/{}x{}/n{}", to_string(c.dtype), c.rows, c.cols, c.tokens).c_str(),
        [c](benchmark::State& state) { bench(state, c); })
        ->ArgName("threads")
        ->Arg(1)
        ->Arg(2)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  return 0;
}();

}  // namespace
}  // namespace decant
