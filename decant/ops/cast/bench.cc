#include <benchmark/benchmark.h>

#include "decant/ops/cast/cases.h"
#include "decant/ops/cast/cast.h"

namespace decant {
namespace {

void bench(benchmark::State& state, uint32_t elements, DType from, DType to) {
  const Device device = Device::cpu({.threads = 1});
  const Buffer x = device.buffer(from, {elements}), out = device.buffer(to, {elements});
  CommandEncoder encoder(device);
  for (auto _ : state) {
    cast(encoder, {.x = x, .out = out});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(x.byte_len() + out.byte_len()));
}

const int kRegistered = [] {
  for (const CastCase& c : kCastCases) {
    if (!c.bench) continue;
    for (const auto& [from, to] : {std::pair{DType::kF32, DType::kF16},
                                   {DType::kF16, DType::kF32},
                                   {DType::kF32, DType::kBF16},
                                   {DType::kBF16, DType::kF32}}) {
      const std::string name = "cast/" + std::string(to_string(from)) + "/" +
                               std::string(to_string(to)) + "/" + std::to_string(c.elements);
      benchmark::RegisterBenchmark(name.c_str(), bench, c.elements, from, to);
    }
  }
  return 0;
}();

}  // namespace
}  // namespace decant
