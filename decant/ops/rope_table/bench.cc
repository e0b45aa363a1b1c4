#include <benchmark/benchmark.h>

#include "decant/ops/rope_table/cases.h"
#include "decant/ops/rope_table/rope_table.h"

namespace decant {
namespace {

void bench(benchmark::State& state, const RopeTableCase& c) {
  const Device device = Device::cpu({.threads = 1});
  const Buffer out = device.buffer(DType::kF32, {c.tokens, 2, c.pairs});
  CommandEncoder encoder(device);
  for (auto _ : state) {
    rope_table(
        encoder,
        {.out = out, .base = c.base, .position_scale = c.position_scale, .position = c.position});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(out.byte_len()));
}

const int kRegistered = [] {
  for (const RopeTableCase& c : kRopeTableCases)
    if (c.bench)
      benchmark::RegisterBenchmark(("rope_table/" + std::to_string(c.tokens) + "x" +
                                    std::to_string(c.pairs) + "@" + std::to_string(c.position))
                                       .c_str(),
                                   bench, c);
  return 0;
}();

}  // namespace
}  // namespace decant
