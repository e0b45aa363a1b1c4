#include <benchmark/benchmark.h>

#include <random>

#include "decant/ops/sample/cases.h"
#include "decant/ops/sample/sample.h"

namespace decant {
namespace {

void bench(benchmark::State& state, const SampleParams& params) {
  const Device device = Device::cpu();
  constexpr uint32_t kVocab = kSampleBenchVocab;
  const Buffer logits = device.buffer(DType::kF32, {kVocab}),
               token = device.buffer(DType::kI32, {1}), history = device.buffer(DType::kI32, {64}),
               counters = device.buffer(DType::kI64, {2}),
               workspace = device.buffer(DType::kU8, {sample_workspace_bytes(kVocab)});
  // A few tokens stand out, as a model's do.
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 3);
  for (float& v : logits.span<float>()) v = normal(random);
  for (int i = 0; i < 30; ++i) logits.span<float>()[random() % kVocab] += 15;
  CommandEncoder encoder(device);
  for (auto _ : state) {
    sample(encoder, {.logits = logits,
                     .token = token,
                     .history = history,
                     .state = counters,
                     .params = params,
                     .workspace = workspace});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{kVocab} * 4);
}

const int kRegistered = [] {
  for (const SampleCase& c : kSampleCases)
    benchmark::RegisterBenchmark((std::string("sample/") + c.name).c_str(), bench, c.params);
  return 0;
}();

}  // namespace
}  // namespace decant
