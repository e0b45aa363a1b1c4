#include <benchmark/benchmark.h>

#include "decant/ops/rms_norm/cases.h"
#include "decant/ops/rms_norm/rms_norm.h"

namespace decant {
namespace {

enum class Mode { kNorm, kFused, kParts };

// kNorm moves 8 bytes per element and a weight; what stands between two blocks, in one dispatch or
// two, 16.
void bench(benchmark::State& state, const RmsNormCase& c, Mode mode) {
  const Device device = Device::cpu({.threads = 1});
  const Shape shape{c.rows, c.row_elems};
  const std::vector<float> ones(shape.elements(), 1.0f);
  const Buffer x = device.upload<float>(ones, DType::kF32, shape),
               out = device.buffer(DType::kF32, shape),
               residual = device.buffer(DType::kF32, shape),
               weight = device.upload<float>(std::span(ones).first(c.row_elems), DType::kF32,
                                             {c.row_elems});
  CommandEncoder encoder(device);
  for (auto _ : state) {
    switch (mode) {
      case Mode::kNorm:
        rms_norm(encoder, {.x = x, .out = out, .eps = 1e-6f, .weight = weight});
        break;
      case Mode::kFused:
        rms_norm_add_norm(encoder, {.x = x,
                                    .weight = weight,
                                    .residual = residual,
                                    .next_weight = weight,
                                    .out = out,
                                    .eps = 1e-6f});
        break;
      case Mode::kParts:
        rms_norm_add(encoder, {.x = x, .weight = weight, .residual = residual, .eps = 1e-6f});
        rms_norm(encoder, {.x = residual, .out = out, .eps = 1e-6f, .weight = weight});
        break;
    }
    encoder.commit_and_wait();
  }
  state.SetBytesProcessed(state.iterations() * int64_t{c.rows} * c.row_elems *
                          (mode == Mode::kNorm ? 8 : 16));
}

const int kRegistered = [] {
  for (const RmsNormCase& c : kRmsNormCases) {
    if (!c.bench) continue;
    const std::string shape = std::to_string(c.rows) + "x" + std::to_string(c.row_elems);
    benchmark::RegisterBenchmark(("rms_norm/" + shape).c_str(), bench, c, Mode::kNorm);
    benchmark::RegisterBenchmark(("rms_norm_add_norm/" + shape).c_str(), bench, c, Mode::kFused);
    benchmark::RegisterBenchmark(("rms_norm_add,rms_norm/" + shape).c_str(), bench, c,
                                 Mode::kParts);
  }
  return 0;
}();

}  // namespace
}  // namespace decant
