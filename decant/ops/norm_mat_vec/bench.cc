#include <benchmark/benchmark.h>

#include "decant/ops/norm_mat_vec/cases.h"
#include "decant/ops/norm_mat_vec/norm_mat_vec.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

using testing::random_weights;

// Weights rotate through as much memory as no cache holds.
void bench(benchmark::State& state, const NormMatVecCase& c, Activations activations) {
  const Device device = Device::cpu({.threads = static_cast<uint32_t>(state.range(0))});
  const auto f32 = [&](uint64_t n) {
    return device.upload<float>(std::vector<float>(n, 1.0f), DType::kF32, {n});
  };
  NormMatVecArgs args{.x = f32(c.cols),
                      .delta = f32(c.cols),
                      .delta_weight = f32(c.cols),
                      .x_out = f32(c.cols),
                      .norm_weight = f32(c.cols),
                      .eps = 1e-6f,
                      .weights = {},
                      .outs = {},
                      .combine = c.gelu_mul ? Combine::kGeluMul : Combine::kNone,
                      .activations = activations};
  size_t bytes = 0;
  for (size_t i = 0; i < 3 && c.rows[i]; ++i) {
    bytes += bytes_of(c.dtypes[i], size_t{c.rows[i]} * c.cols);
    if (i == 0 || !c.gelu_mul) args.outs[i] = f32(c.rows[i]);
  }
  std::vector<std::array<Buffer, 3>> sets(std::max<size_t>((256 << 20) / bytes, 1));
  for (size_t s = 0; s < sets.size(); ++s)
    for (size_t i = 0; i < 3 && c.rows[i]; ++i)
      sets[s][i] =
          device.upload<std::byte>(random_weights(c.dtypes[i], size_t{c.rows[i]} * c.cols, s),
                                   c.dtypes[i], {c.rows[i], c.cols});
  CommandEncoder encoder(device);
  size_t next = 0;
  for (auto _ : state) {
    args.weights = sets[next++ % sets.size()];
    norm_mat_vec(encoder, args);
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes));
}

const int kRegistered = [] {
  constexpr const char* kNames[] = {"qkv", "gate_up", "head"};
  for (size_t i = 0; i < std::size(kNormMatVecBenches); ++i)
    for (const Activations activations : {Activations::kF32, Activations::kQ8})
      benchmark::RegisterBenchmark(
          fmt::format("norm_mat_vec/{}{}", kNames[i], activations == Activations::kQ8 ? "_q8" : "")
              .c_str(),
          bench, kNormMatVecBenches[i], activations)
          ->ArgName("threads")
          ->Arg(1)
          ->Arg(2)
          ->UseRealTime();
  return 0;
}();

}  // namespace
}  // namespace decant
