// One row per shape of cases.h; K and V rotate through 256 MB. `decant bench-op flash_attn_vec`
// adds the measured roofline.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <vector>

#include "decant/ops/flash_attn_vec/cases.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"

namespace decant {
namespace {

void bench(benchmark::State& state, uint32_t D, uint32_t heads, uint32_t kv_heads, uint32_t keys) {
  const Device device = Device::cpu();
  const Buffer q = device.buffer(DType::kF32, {heads, D}),
               out = device.buffer(DType::kF32, {heads, D});
  const size_t cache_bytes = size_t{kv_heads} * keys * D * 2;
  std::vector<Buffer> caches((size_t{256} << 20) / cache_bytes / 2 * 2 + 2);
  uint32_t random = 1;
  for (Buffer& cache : caches) {
    cache = device.buffer(DType::kF16, {kv_heads, keys, D});
    for (uint16_t& h : cache.span<uint16_t>()) {
      random = random * 1664525 + 1013904223;
      h = static_cast<uint16_t>((random >> 31) << 15 | 0x3000 |
                                (random >> 21 & 0x3FF));  // +-[1/8, 1/4)
    }
  }
  for (float& x : q.span<float>()) x = 0.01f;
  CommandEncoder encoder(device);
  size_t next = 0;
  for (auto _ : state) {
    flash_attn_vec(encoder, {.q = q,
                             .k = caches[next],
                             .v = caches[next + 1],
                             .out = out,
                             .kv_seq_len = keys,
                             .scale = 0.0625f});
    encoder.commit_and_wait();
    next = (next + 2) % caches.size();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(2 * cache_bytes));
}

const int kRegistered = [] {
  for (const auto& [D, heads, kv_heads, keys] : kFlashAttnVecBench)
    benchmark::RegisterBenchmark(
        fmt::format("flash_attn_vec/{},{},{},{}", D, heads, kv_heads, keys).c_str(), bench, D,
        heads, kv_heads, keys)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  return 0;
}();

}  // namespace
}  // namespace decant
