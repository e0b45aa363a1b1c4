#include <benchmark/benchmark.h>

#include <random>

#include "decant/ops/top_k/cases.h"
#include "decant/ops/top_k/top_k.h"

namespace decant {
namespace {

void bench(benchmark::State& state, uint32_t elements, uint32_t k) {
  const Device device = Device::cpu();
  const Buffer x = device.buffer(DType::kF32, {elements}), values = device.buffer(DType::kF32, {k}),
               ids = device.buffer(DType::kI32, {k});
  std::minstd_rand random(1);
  for (float& v : x.span<float>()) v = static_cast<float>(random() % 1000000) * 1e-5f;
  CommandEncoder encoder(device);
  for (auto _ : state) {
    top_k(encoder, {.x = x, .values = values, .ids = ids});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{elements} * 4);
}

const int kRegistered = [] {
  for (const TopKCase& c : kTopKCases)
    if (c.bench)
      benchmark::RegisterBenchmark(
          ("top_k/" + std::to_string(c.elements) + "/" + std::to_string(c.k)).c_str(), bench,
          c.elements, c.k);
  return 0;
}();

}  // namespace
}  // namespace decant
