#include <benchmark/benchmark.h>

#include "decant/ops/kv_append/cases.h"
#include "decant/ops/kv_append/kv_append.h"

namespace decant {
namespace {

// As in Gemma 3: k comes as f16 from qk_norm_rope, v as f32 from its projection.
void bench(benchmark::State& state, const KvAppendCase& c) {
  const Device device = Device::cpu({.threads = 1});
  const Shape tokens{c.tokens, c.num_kv_heads, c.head_dim},
      cache{c.num_kv_heads, c.kv_capacity, c.head_dim};
  const Buffer k = device.buffer(DType::kF16, tokens), v = device.buffer(DType::kF32, tokens),
               k_cache = device.buffer(DType::kF16, cache),
               v_cache = device.buffer(DType::kF16, cache);
  CommandEncoder encoder(device);
  for (auto _ : state) {
    kv_append(encoder, {.k = k,
                        .v = v,
                        .k_cache = k_cache,
                        .v_cache = v_cache,
                        .position = c.position,
                        .ring = c.ring});
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() *
                          static_cast<int64_t>(k.byte_len() * 3 + v.byte_len()));
}

const int kRegistered = [] {
  for (const KvAppendCase& c : kKvAppendCases)
    if (c.bench)
      benchmark::RegisterBenchmark(
          ("kv_append/" + std::to_string(c.tokens) + "x" + std::to_string(c.num_kv_heads) + "x" +
           std::to_string(c.head_dim) + (c.ring ? "/ring" : "/linear"))
              .c_str(),
          bench, c);
  return 0;
}();

}  // namespace
}  // namespace decant
