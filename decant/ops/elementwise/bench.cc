#include <benchmark/benchmark.h>

#include "decant/ops/elementwise/cases.h"
#include "decant/ops/elementwise/elementwise.h"

namespace decant {
namespace {

using Op = void (*)(CommandEncoder&, const ElementwiseArgs&);

void bench(benchmark::State& state, const ElementwiseCase& c, Op op) {
  const Device device = Device::cpu({.threads = 1});
  const Shape shape{c.rows, c.columns};
  const Buffer a = device.buffer(DType::kF32, shape), b = device.buffer(DType::kF32, shape),
               out = device.buffer(DType::kF32, shape);
  CommandEncoder encoder(device);
  for (auto _ : state) {
    op(encoder, {.a = a, .b = b, .out = out});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{c.rows} * c.columns * 12);
}

const int kRegistered = [] {
  for (const ElementwiseCase& c : kElementwiseCases) {
    if (!c.bench) continue;
    const std::string shape = std::to_string(c.rows) + "x" + std::to_string(c.columns);
    benchmark::RegisterBenchmark(("add/" + shape).c_str(), bench, c, &add);
    benchmark::RegisterBenchmark(("mul/" + shape).c_str(), bench, c, &mul);
  }
  return 0;
}();

}  // namespace
}  // namespace decant
