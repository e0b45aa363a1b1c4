#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <vector>

#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/mat_mul/cases.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/pack_weights/pack_weights.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

// rotate:1: each call with another copy of the weights, so that no cache holds them: as many copies
// as fill 288 MB. rotate:0: always the same, to see the arithmetic alone if they fit a cache.
// bits: of the activations, 32 unrounded. packed:1: sixteen rows side by side (pack_weights).
// Counters: weights read and flops per second, of all calls and of the fastest.
void bench(benchmark::State& state, const MatMulBench& c) {
  const auto threads = static_cast<uint32_t>(state.range(0));
  const Device device = Device::cpu({.threads = threads});
  const bool packed = state.range(3) != 0;
  const DType dtype = packed ? *x16_of(c.dtype) : c.dtype;
  const size_t weight_bytes = bytes_of(dtype, uint64_t{c.rows} * c.cols);
  const size_t copies =
      state.range(1) ? std::max<size_t>(1, (288u << 20) / weight_bytes) : size_t{1};
  // Random rows repeated: random bits for all would take longer than the benchmark.
  const uint64_t some_rows = std::min<uint64_t>(c.rows, 256);
  const std::vector<std::byte> some = testing::random_weights(c.dtype, some_rows * c.cols, 1);
  Buffer all = device.buffer(c.dtype, {copies * c.rows, c.cols});
  for (uint64_t row = 0; row + some_rows <= copies * c.rows; row += some_rows)
    device.write(all.rows(row, some_rows), some);

  std::vector<float> values(size_t{c.tokens} * c.cols);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 13) - 6;
  const Buffer x = device.upload<float>(values, DType::kF32, {c.tokens, c.cols}),
               out = device.buffer(DType::kF32, {c.tokens, c.rows});
  CommandEncoder encoder(device);
  if (packed) {
    const Buffer side_by_side = device.buffer(dtype, all.shape());
    pack_weights(encoder, {.weight = all, .out = side_by_side});
    encoder.commit_and_wait();
    all = side_by_side;
  }
  const Activations activations = state.range(2) == 8    ? Activations::kQ8
                                  : state.range(2) == 16 ? Activations::kQ16
                                                         : Activations::kF32;
  size_t copy = 0;
  double best_us = HUGE_VAL;  // for machines that others use too
  for (auto _ : state) {
    const auto start = std::chrono::steady_clock::now();
    mat_mul(encoder, {.weight = all.rows(copy * c.rows, c.rows),
                      .x = x,
                      .out = out,
                      .activations = activations});
    encoder.commit_and_wait();
    const std::chrono::duration<double, std::micro> us = std::chrono::steady_clock::now() - start;
    best_us = std::min(best_us, us.count());
    copy = (copy + 1) % copies;
  }
  const auto rate = [&](double per_call) {
    return benchmark::Counter(per_call, benchmark::Counter::kIsIterationInvariantRate);
  };
  const double flops = 2.0 * c.rows * c.cols * c.tokens;
  state.counters["bytes/s"] = rate(static_cast<double>(weight_bytes));
  state.counters["flop/s"] = rate(flops);
  state.counters["best_us"] = best_us;
  state.counters["best_GB/s"] = static_cast<double>(weight_bytes) / best_us * 1e-3;
  state.counters["best_GFLOP/s"] = flops / best_us * 1e-3;
}

const int kRegistered = [] {
  for (const MatMulBench& c : kMatMulBenches) {
    auto* b = benchmark::RegisterBenchmark(
        fmt::format("mat_mul/{}/{}x{}/n{}", to_string(c.dtype), c.rows, c.cols, c.tokens).c_str(),
        [c](benchmark::State& state) { bench(state, c); });
    b->ArgNames({"threads", "rotate", "bits", "packed"});
    const auto add = [&](int bits, int packed) {
      b->Args({1, 1, bits, packed})->Args({2, 1, bits, packed});
      if (c.tokens == 1) b->Args({1, 0, bits, packed});
    };
    if (is_quantized(c.dtype)) add(8, 0);
    add(32, 0);
    // Only decoding multiplies packed weights; the head's activations have 16 bits.
    if (c.tokens == 1 && c.rows % 16 == 0 && x16_of(c.dtype))
      for (const int bits : {8, 16}) add(bits, 1);
    b->UseRealTime()->Unit(benchmark::kMicrosecond);
  }
  return 0;
}();

}  // namespace
}  // namespace decant
