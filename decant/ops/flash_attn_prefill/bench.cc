#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_prefill/cases.h"
#include "decant/ops/flash_attn_prefill/flash_attn_prefill.h"

namespace decant {
namespace {

// Two products of 2 * head_dim flops for each key that a query attends.
double flops(const PrefillCase& c) {
  double keys = 0;
  for (uint32_t i = 0; i < c.n; ++i) {
    const uint32_t all = c.kv_seq_len + i + 1;
    keys += all - window_start(c.mask, c.sliding_window, all);
  }
  return 4.0 * c.head_dim * c.num_heads * keys;
}

void fill_f16(const Buffer& buffer) {
  uint32_t state = 1;
  for (uint16_t& x : buffer.span<uint16_t>()) {
    state = state * 1664525 + 1013904223;
    x = f16_from_f32(static_cast<float>(state >> 8) * 0x1p-23f - 1.0f);
  }
}

void bench(benchmark::State& state, const PrefillCase& c, uint32_t threads) {
  const Device device = Device::cpu({.threads = threads});
  const Buffer q = device.buffer(DType::kF32, {c.n, c.num_heads, c.head_dim}),
               out = device.buffer(DType::kF32, {c.n, c.num_heads, c.head_dim}),
               k_new = device.buffer(DType::kF16, {c.n, c.num_kv_heads, c.head_dim}),
               v_new = device.buffer(DType::kF16, {c.n, c.num_kv_heads, c.head_dim});
  Buffer k_cache, v_cache;
  if (c.kv_capacity > 0) {
    k_cache = device.buffer(DType::kF16, {c.num_kv_heads, c.kv_capacity, c.head_dim});
    v_cache = device.buffer(DType::kF16, {c.num_kv_heads, c.kv_capacity, c.head_dim});
    fill_f16(k_cache);
    fill_f16(v_cache);
  }
  fill_f16(k_new);
  fill_f16(v_new);
  std::ranges::fill(q.span<float>(), 0.5f);
  CommandEncoder encoder(device);
  for (auto _ : state) {
    flash_attn_prefill(encoder, {.q = q,
                                 .k_new = k_new,
                                 .v_new = v_new,
                                 .k_cache = k_cache,
                                 .v_cache = v_cache,
                                 .out = out,
                                 .kv_seq_len = c.kv_seq_len,
                                 .ring_start = c.ring_start,
                                 .scale = 1 / std::sqrt(static_cast<float>(c.head_dim)),
                                 .mask = c.mask,
                                 .sliding_window = c.sliding_window});
    encoder.commit_and_wait();
  }
  state.counters["GFLOP/s"] = benchmark::Counter(
      flops(c) * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// One thread is timed by its CPU time, which other processes disturb less.
const int kRegistered = [] {
  for (const uint32_t threads : {1u, 0u})
    for (const PrefillCase& c : prefill_bench_cases()) {
      benchmark::internal::Benchmark* registered = benchmark::RegisterBenchmark(
          fmt::format("flash_attn_prefill/n:{}/heads:{}:{}/dim:{}/older:{}/window:{}/threads:{}",
                      c.n, c.num_heads, c.num_kv_heads, c.head_dim, c.kv_seq_len, c.sliding_window,
                      threads ? "1" : "all")
              .c_str(),
          bench, c, threads);
      registered->Unit(benchmark::kMicrosecond);
      registered->ComputeStatistics(
          "min", [](const std::vector<double>& values) { return std::ranges::min(values); });
      if (threads != 1) registered->UseRealTime();
    }
  return 0;
}();

}  // namespace
}  // namespace decant
