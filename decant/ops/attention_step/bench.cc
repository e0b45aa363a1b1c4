#include <benchmark/benchmark.h>

#include <cmath>

#include "decant/ops/attention_step/attention_step.h"
#include "decant/ops/attention_step/cases.h"

namespace decant {
namespace {

// Caches rotate through as much memory as no cache of the machine holds.
void bench(benchmark::State& state, const AttentionStepCase& c) {
  const Device device = Device::cpu({.threads = static_cast<uint32_t>(state.range(0))});
  const auto f32 = [&](const Shape& shape) {
    Buffer buffer = device.buffer(DType::kF32, shape);
    for (float& x : buffer.span<float>()) x = 1;
    return buffer;
  };
  AttentionStepArgs args{.q = f32({c.num_heads, c.head_dim}),
                         .k = f32({c.num_kv_heads, c.head_dim}),
                         .v = f32({c.num_kv_heads, c.head_dim}),
                         .q_norm = f32({c.head_dim}),
                         .k_norm = f32({c.head_dim}),
                         .rope = f32({1, 2, c.head_dim / 2}),
                         .eps = 1e-6f,
                         .k_cache = {},
                         .v_cache = {},
                         .out = f32({c.num_heads, c.head_dim}),
                         .kv_seq_len = c.kv_seq_len,
                         .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                         .mask = c.mask,
                         .sliding_window = c.sliding_window,
                         .ring_start = c.ring_start};
  const Shape shape{c.num_kv_heads, c.kv_capacity, c.head_dim};
  const size_t bytes = bytes_of(DType::kF16, shape.elements());
  std::vector<std::pair<Buffer, Buffer>> caches((128 << 20) / bytes);
  for (auto& [k, v] : caches)
    for (Buffer* buffer : {&k, &v}) {
      *buffer = device.buffer(DType::kF16, shape);
      for (uint16_t& half : buffer->span<uint16_t>()) half = 0x3800;
    }
  CommandEncoder encoder(device);
  size_t next = 0;
  for (auto _ : state) {
    std::tie(args.k_cache, args.v_cache) = caches[next++ % caches.size()];
    attention_step(encoder, args);
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(2 * bytes));
}

const int kRegistered = [] {
  for (const AttentionStepCase& c : kAttentionStepBenches)
    benchmark::RegisterBenchmark(fmt::format("attention_step/{}x{}x{}/{}", c.head_dim, c.num_heads,
                                             c.num_kv_heads, c.kv_seq_len)
                                     .c_str(),
                                 bench, c)
        ->ArgName("threads")
        ->Arg(1)
        ->Arg(2)
        ->UseRealTime();
  return 0;
}();

}  // namespace
}  // namespace decant
