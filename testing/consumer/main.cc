// Calls one op of the installed library and checks a value that is known exactly.
#include <cmath>
#include <cstdio>
#include <vector>

#include "decant/ops/gelu_mul/gelu_mul.h"

int main() {
  const std::vector<float> gate = {0.0f, 1.0f, 10.0f}, up = {5.0f, 2.0f, 0.5f};
  const decant::Device device = decant::Device::cpu({.threads = 1});
  const decant::Buffer out = device.buffer(decant::DType::kF32, {3});
  decant::CommandEncoder encoder(device);
  decant::gelu_mul(encoder, {.gate = device.upload<float>(gate, decant::DType::kF32, {3}),
                             .up = device.upload<float>(up, decant::DType::kF32, {3}),
                             .out = out});
  encoder.commit_and_wait();
  const auto values = out.span<float>();
  std::printf("%g %g %g\n", values[0], values[1], values[2]);
  // gelu(10) is 10 to more digits than a float has.
  return values[0] == 0.0f && std::abs(values[1] - 2 * 0.841192f) < 1e-5f && values[2] == 5.0f ? 0
                                                                                               : 1;
}
