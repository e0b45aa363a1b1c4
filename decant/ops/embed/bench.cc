#include <benchmark/benchmark.h>

#include "decant/ops/embed/cases.h"
#include "decant/ops/embed/embed.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

void bench(benchmark::State& state, DType dtype, EmbedCase c) {
  const Device device = Device::cpu();
  const Buffer table = device.buffer(dtype, {c.vocab, c.hidden});
  device.write(table, testing::random_weights(dtype, size_t{c.vocab} * c.hidden, 1));
  std::vector<int32_t> tokens(c.tokens);
  for (uint32_t i = 0; i < c.tokens; ++i) tokens[i] = static_cast<int32_t>(i * 1237 % c.vocab);
  const Buffer ids = device.upload<int32_t>(tokens, DType::kI32, {c.tokens}),
               out = device.buffer(DType::kF32, {c.tokens, c.hidden});
  CommandEncoder encoder(device);
  for (auto _ : state) {
    embed(encoder, {.table = table, .ids = ids, .out = out, .scale = 25});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(
      state.iterations() *
      static_cast<int64_t>(c.tokens * bytes_of(dtype, c.hidden) + out.byte_len()));
}

const int kRegistered = [] {
  for (const DType dtype : {DType::kF16, DType::kQ8_0, DType::kQ5_0})
    for (const EmbedCase& c : kEmbedCases)
      if (c.bench)
        benchmark::RegisterBenchmark(
            fmt::format("embed/{}/{}x{}", to_string(dtype), c.tokens, c.hidden).c_str(), bench,
            dtype, c);
  return 0;
}();

}  // namespace
}  // namespace decant
