// Recording, running and replaying ops again allocates nothing.
#include <gtest/gtest.h>

#include <functional>
#include <new>
#include <vector>

#include "decant/core/graph.h"
#include "decant/ops/attention_step/attention_step.h"
#include "decant/ops/cast/cast.h"
#include "decant/ops/elementwise/elementwise.h"
#include "decant/ops/gelu_mul/gelu_mul.h"
#include "decant/ops/kv_append/kv_append.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/norm_mat_vec/norm_mat_vec.h"
#include "decant/ops/qk_norm_rope/qk_norm_rope.h"
#include "decant/ops/rms_norm/rms_norm.h"
#include "decant/ops/rope_table/rope_table.h"
#include "testing/count_allocations.h"

namespace decant {
namespace {

using testing::count_allocations;

class SteadyState : public ::testing::Test {
 protected:
  // Runs `record` until it has what it needs, then counts.
  size_t allocations_of(const std::function<void(CommandEncoder&)>& record) {
    CommandEncoder encoder(device);
    Graph graph = Graph::capture(device, record);
    const auto round = [&] {
      record(encoder);
      encoder.commit_and_wait();
      graph.replay_and_wait();
    };
    for (int i = 0; i < 3; ++i) round();
    const size_t before = count_allocations();
    for (int i = 0; i < 5; ++i) round();
    return count_allocations() - before;
  }
  Buffer f32(const Shape& shape) { return device.buffer(DType::kF32, shape); }
  Buffer f16(const Shape& shape) { return device.buffer(DType::kF16, shape); }

  Device device = Device::cpu({.threads = 2});
};

TEST_F(SteadyState, OpsOfADecodeStep) {
  const Buffer x = f32({2, 4, 64}), y = f32({2, 4, 64}), z = f32({2, 4, 64}), w = f32({64}),
               rope = f32({2, 2, 32}), half = f16({2, 4, 64}), k_cache = f16({4, 16, 64}),
               v_cache = f16({4, 16, 64}), position = device.buffer(DType::kU32, {1});
  EXPECT_EQ(allocations_of([&](CommandEncoder& e) {
              rms_norm(e, {.x = x, .out = y, .eps = 1e-6f, .weight = w});
              rms_norm_add(e, {.x = y, .weight = w, .residual = x, .eps = 1e-6f});
              rms_norm_add_norm(
                  e,
                  {.x = y, .weight = w, .residual = x, .next_weight = w, .out = z, .eps = 1e-6f});
              add_rms_norm(e, {.a = y, .b = z, .sum = y, .weight = w, .out = z, .eps = 1e-6f});
              rope_table(e, {.out = rope, .base = 1e4, .position_buffer = position});
              qk_norm_rope(e, {.x = z, .weight = w, .rope = rope, .out = half, .eps = 1e-6f});
              kv_append(e, {.k = half,
                            .v = z,
                            .k_cache = k_cache,
                            .v_cache = v_cache,
                            .position_buffer = position,
                            .ring = true});
              cast(e, {.x = half, .out = y});
              add(e, {.a = y, .b = z, .out = y});
              mul(e, {.a = y, .b = w, .out = y});
              gelu_mul(e, {.gate = y, .up = z, .out = y});
            }),
            0u);
}

TEST_F(SteadyState, FusedOpsOfADecodeStep) {
  const Buffer x = f32({64}), x_out = f32({64}), delta = f32({64}), w = f32({64}),
               weight = device.buffer(DType::kQ8_0, {256, 64}), q = f32({256}), act = f32({256}),
               k = f32({1, 64}), out = f32({4, 64}), rope = f32({1, 2, 32}),
               k_cache = f16({1, 16, 64}), v_cache = f16({1, 16, 64});
  EXPECT_EQ(
      allocations_of([&](CommandEncoder& e) {
        norm_mat_vec(e, {.x = x,
                         .delta = delta,
                         .delta_weight = w,
                         .x_out = x_out,
                         .norm_weight = w,
                         .eps = 1e-6f,
                         .weights = {weight, weight},
                         .outs = {q, act}});
        attention_step(e, {.q = q.reshape({4, 64}),
                           .k = k,
                           .v = k,
                           .q_norm = w,
                           .k_norm = w,
                           .rope = rope,
                           .eps = 1e-6f,
                           .k_cache = k_cache,
                           .v_cache = v_cache,
                           .out = out,
                           .kv_seq_len = 5,
                           .scale = 0.125f});
        mat_mul(e, {.weight = weight, .x = delta.reshape({1, 64}), .out = q.reshape({1, 256})});
      }),
      0u);
}

TEST_F(SteadyState, TheCounterCounts) {
  EXPECT_GE(allocations_of([&](CommandEncoder&) { ::operator delete(::operator new(100)); }), 5u);
}

}  // namespace
}  // namespace decant
