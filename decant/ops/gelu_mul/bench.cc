#include <benchmark/benchmark.h>

#include "decant/ops/gelu_mul/cases.h"
#include "decant/ops/gelu_mul/gelu_mul.h"

namespace decant {
namespace {

void bench(benchmark::State& state, uint32_t elements) {
  const Device device = Device::cpu();
  const Buffer gate = device.buffer(DType::kF32, {elements}),
               up = device.buffer(DType::kF32, {elements}),
               out = device.buffer(DType::kF32, {elements});
  CommandEncoder encoder(device);
  for (auto _ : state) {
    gelu_mul(encoder, {.gate = gate, .up = up, .out = out});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{elements} * 12);
}

const int kRegistered = [] {
  for (const GeluMulCase& c : kGeluMulCases)
    if (c.bench)
      benchmark::RegisterBenchmark(("gelu_mul/" + std::to_string(c.elements)).c_str(), bench,
                                   c.elements);
  return 0;
}();

}  // namespace
}  // namespace decant
