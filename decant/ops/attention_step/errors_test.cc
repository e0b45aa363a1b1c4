// Every argument that attention_step rejects, with the message it gives.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "decant/core/error.h"
#include "decant/ops/attention_step/attention_step.h"
#include "testing/devices.h"

namespace decant {
namespace {

class AttentionStepErrors : public ::testing::Test {
 protected:
  AttentionStepArgs good() const {
    return {.q = f32({4, 64}),
            .k = f32({2, 64}),
            .v = f32({2, 64}),
            .q_norm = f32({64}),
            .k_norm = f32({64}),
            .rope = f32({1, 2, 32}),
            .eps = 1e-6f,
            .k_cache = f16({2, 100, 64}),
            .v_cache = f16({2, 100, 64}),
            .out = f32({4, 64}),
            .kv_seq_len = 50,
            .scale = 0.125f};
  }
  void rejects(const std::function<void(AttentionStepArgs&)>& change, const std::string& message) {
    AttentionStepArgs args = good();
    change(args);
    CommandEncoder encoder(device);
    try {
      attention_step(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(e.what(), "attention_step: " + message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  }
  Buffer f32(const Shape& shape) const { return device.buffer(DType::kF32, shape); }
  Buffer f16(const Shape& shape) const { return device.buffer(DType::kF16, shape); }

  Device device = testing::test_device({.threads = 1});
};
using A = AttentionStepArgs;

TEST_F(AttentionStepErrors, TheGoodArgumentsAreGood) {
  CommandEncoder encoder(device);
  EXPECT_NO_THROW(attention_step(encoder, good()));
}

TEST_F(AttentionStepErrors, Tensors) {
  rejects([&](A& a) { a.q = {}; }, "q: expected a buffer, got none");
  rejects([&](A& a) { a.q = f16({4, 64}); }, "q: dtype must be f32, got f16");
  rejects([&](A& a) { a.q = f32({256}); }, "q: expected [num_heads, head_dim], got [256]");
  rejects([&](A& a) { a.q = f32({4, 96}); }, "q: head_dim must be 64, 128 or 256, got 96");
  rejects(
      [&](A& a) {
        a.q = f32({3, 64});
      },
      "q: num_heads must be a multiple of num_kv_heads 2, got 3");
  rejects([&](A& a) { a.k = f16({2, 64}); }, "k: dtype must be f32, got f16");
  rejects([&](A& a) { a.k = f32({1, 64}); }, "k: expected the shape [2, 64], got [1, 64]");
  rejects([&](A& a) { a.v = f32({2, 32}); }, "v: expected the shape [2, 64], got [2, 32]");
  rejects([&](A& a) { a.q_norm = f32({32}); }, "q_norm: expected the shape [64], got [32]");
  rejects([&](A& a) { a.k_norm = {}; }, "k_norm: expected a buffer, got none");
  rejects(
      [&](A& a) {
        a.rope = f32({2, 2, 32});
      },
      "rope: expected the shape [1, 2, 32], got [2, 2, 32]");
  rejects([&](A& a) { a.k_cache = f32({2, 100, 64}); }, "k_cache: dtype must be f16, got f32");
  rejects(
      [&](A& a) {
        a.k_cache = f16({200, 64});
      },
      "k_cache: expected [num_kv_heads, kv_capacity, head_dim], got [200, 64]");
  rejects(
      [&](A& a) {
        a.k_cache = f16({2, 0, 64});
      },
      "k_cache: kv_capacity must be 1 to 2^31-1, got 0");
  rejects(
      [&](A& a) {
        a.k_cache = f16({0, 100, 64});
      },
      "k_cache: num_kv_heads must be at least 1, got 0");
  rejects(
      [&](A& a) {
        a.v_cache = f16({2, 99, 64});
      },
      "v_cache: expected the shape [2, 100, 64], got [2, 99, 64]");
  rejects([&](A& a) { a.out = f32({4, 32}); }, "out: expected the shape [4, 64], got [4, 32]");
  rejects(
      [&](A& a) {
        a.k_cache = f16({12804}).slice(8, {2, 100, 64});
      },
      "k_cache: byte offset must be a multiple of 16, got 8");
}

TEST_F(AttentionStepErrors, Numbers) {
  rejects([&](A& a) { a.eps = 0; }, "eps: expected a positive finite number, got 0");
  rejects([&](A& a) { a.scale = NAN; }, "scale: must be finite, got nan");
  rejects([&](A& a) { a.mask = static_cast<AttnMask>(3); },
          "mask: must be 0 (none), 1 (causal) or 2 (sliding window), got 3");
  rejects([&](A& a) { a.mask = AttnMask::kSlidingWindow; },
          "sliding_window: must be at least 1 with a sliding window mask, got 0");
  rejects([&](A& a) { a.kv_seq_len = 0; }, "kv_seq_len: must be at least 1, got 0");
  rejects([&](A& a) { a.kv_seq_len = 101; },
          "kv_seq_len: must be at most kv_capacity 100, got 101");
  rejects([&](A& a) { a.ring_start = 100; },
          "ring_start: must be less than kv_capacity 100, got 100");
  rejects([&](A& a) { a.ring_start = 1; },
          "ring_start: must be 0 until the ring is full (kv_seq_len 50 of 100), got 1");
  rejects([&](A& a) { a.params = f32({9}); }, "params: dtype must be u32, got f32");
  rejects([&](A& a) { a.params = device.buffer(DType::kU32, {8}); },
          "params: expected 36 bytes, got 32");
}

TEST_F(AttentionStepErrors, Overlaps) {
  rejects([&](A& a) { a.out = a.q; }, "out: must not overlap the input q");
  rejects([&](A& a) { a.v_cache = a.k_cache; }, "k_cache: must not overlap v_cache");
  const Buffer all = device.buffer(DType::kU8, {2 * 100 * 64 * 2 + 512});
  rejects(
      [&](A& a) {
        a.k_cache = all.slice(0, DType::kF16, {2, 100, 64});
        a.k = all.slice(25600 - 512, DType::kF32, {2, 64});
      },
      "k_cache: must not overlap the input k");
  rejects(
      [&](A& a) {
        a.v_cache = all.slice(0, DType::kF16, {2, 100, 64});
        a.params = all.slice(64, DType::kU32, {9});
      },
      "v_cache: must not overlap the input params");
}

TEST_F(AttentionStepErrors, OtherDevices) {
  const Device other = testing::test_device({.threads = 1});
  rejects(
      [&](A& a) {
        a.rope = other.buffer(DType::kF32, {1, 2, 32});
      },
      fmt::format("rope: expected a buffer of the encoder's device {}, got another device's",
                  device.name()));
}

}  // namespace
}  // namespace decant
