// Attention of one token over a KV cache, on the CPU. Prints 1.000 1.333 1.571 1.722.
#include <cmath>
#include <cstdio>

#include "decant/kernels/float16.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
using namespace decant;

int main() {
  const Device device = Device::cpu();
  const Buffer q = device.buffer(DType::kF32, {4, 256});  // 4 query heads; all zeros, as every new
  const Buffer out = device.buffer(DType::kF32, {4, 256});
  const Buffer k = device.buffer(DType::kF16, {1, 512, 256});  // they share 1 KV head of 512 slots
  const Buffer v = device.buffer(DType::kF16, {1, 512, 256});
  for (int h = 0; h < 4; ++h) q.span<float>()[h * 256] = static_cast<float>(h);
  for (int p = 0; p < 3; ++p) {  // 3 tokens are in the cache; head h weighs them (p + 1)^h
    k.span<uint16_t>()[p * 256] = f16_from_f32(std::log(p + 1.0f));
    v.span<uint16_t>()[p * 256] = f16_from_f32(static_cast<float>(p));
  }
  CommandEncoder encoder(device);
  flash_attn_vec(encoder, {.q = q, .k = k, .v = v, .out = out, .kv_seq_len = 3, .scale = 1});
  encoder.commit_and_wait();
  for (int h = 0; h < 4; ++h) std::printf("%.3f ", out.span<float>()[h * 256]);
  return std::abs(out.span<float>()[3 * 256] - 62.0f / 36) < 1e-3f ? 0 : 1;
}
