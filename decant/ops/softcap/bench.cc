#include <benchmark/benchmark.h>

#include "decant/ops/softcap/cases.h"
#include "decant/ops/softcap/softcap.h"

namespace decant {
namespace {

void bench(benchmark::State& state, uint32_t elements) {
  const Device device = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {elements}),
               out = device.buffer(DType::kF32, {elements});
  CommandEncoder encoder(device);
  for (auto _ : state) {
    softcap(encoder, {.x = x, .out = out, .cap = 30});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{elements} * 8);
}

const int kRegistered = [] {
  for (const SoftcapCase& c : kSoftcapCases)
    if (c.bench)
      benchmark::RegisterBenchmark(("softcap/" + std::to_string(c.elements)).c_str(), bench,
                                   c.elements);
  return 0;
}();

}  // namespace
}  // namespace decant
