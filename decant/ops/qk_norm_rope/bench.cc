#include <benchmark/benchmark.h>

#include "decant/ops/qk_norm_rope/cases.h"
#include "decant/ops/qk_norm_rope/qk_norm_rope.h"

namespace decant {
namespace {

void bench(benchmark::State& state, const QkNormRopeCase& c, DType dtype) {
  const Device device = Device::cpu({.threads = 1});
  const Shape shape{c.tokens, c.num_heads, c.head_dim};
  const std::vector<float> ones(shape.elements(), 1.0f);
  const Buffer x = device.upload<float>(ones, DType::kF32, shape),
               weight = device.buffer(DType::kF32, {c.head_dim}),
               rope = device.buffer(DType::kF32, {c.tokens, 2, c.head_dim / 2}),
               out = device.buffer(dtype, shape);
  CommandEncoder encoder(device);
  for (auto _ : state) {
    qk_norm_rope(encoder, {.x = x, .weight = weight, .rope = rope, .out = out, .eps = 1e-6f});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(x.byte_len() + out.byte_len() + rope.byte_len()));
}

const int kRegistered = [] {
  for (const QkNormRopeCase& c : kQkNormRopeCases) {
    if (!c.bench) continue;
    const std::string shape = std::to_string(c.tokens) + "x" + std::to_string(c.num_heads) + "x" +
                              std::to_string(c.head_dim);
    benchmark::RegisterBenchmark(("qk_norm_rope_f32/" + shape).c_str(), bench, c, DType::kF32);
    benchmark::RegisterBenchmark(("qk_norm_rope_f16/" + shape).c_str(), bench, c, DType::kF16);
  }
  return 0;
}();

}  // namespace
}  // namespace decant
