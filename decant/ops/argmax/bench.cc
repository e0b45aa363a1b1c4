#include <benchmark/benchmark.h>

#include "decant/ops/argmax/argmax.h"
#include "decant/ops/argmax/cases.h"

namespace decant {
namespace {

void bench(benchmark::State& state, uint32_t rows, uint32_t row_elems) {
  const Device device = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {rows, row_elems}),
               out = device.buffer(DType::kI32, {rows});
  // Ascending within 4,096, so that the maximum keeps changing.
  for (size_t i = 0; i < x.elements(); ++i) x.span<float>()[i] = static_cast<float>(i % 4096);
  CommandEncoder encoder(device);
  for (auto _ : state) {
    argmax(encoder, {.x = x, .out = out});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{rows} * row_elems * 4);
}

const int kRegistered = [] {
  for (const ArgmaxCase& c : kArgmaxCases)
    if (c.bench)
      benchmark::RegisterBenchmark(
          ("argmax/" + std::to_string(c.rows) + "x" + std::to_string(c.row_elems)).c_str(), bench,
          c.rows, c.row_elems);
  return 0;
}();

}  // namespace
}  // namespace decant
