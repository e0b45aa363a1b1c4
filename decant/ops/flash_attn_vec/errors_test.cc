// Every argument that flash_attn_vec rejects, with the message it gives.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "decant/core/error.h"
#include "decant/ops/flash_attn_vec/flash_attn_vec.h"
#include "testing/devices.h"

namespace decant {
namespace {

class FlashAttnVecErrors : public ::testing::Test {
 protected:
  Device device = testing::test_device({.threads = 1});
  FlashAttnVecArgs good() const {
    return {.q = device.buffer(DType::kF32, {4, 64}),
            .k = device.buffer(DType::kF16, {2, 100, 64}),
            .v = device.buffer(DType::kF16, {2, 100, 64}),
            .out = device.buffer(DType::kF32, {4, 64}),
            .kv_seq_len = 50,
            .scale = 0.125f};
  }
  void rejects(const std::function<void(FlashAttnVecArgs&)>& change, const std::string& message) {
    FlashAttnVecArgs args = good();
    change(args);
    CommandEncoder encoder(device);
    try {
      flash_attn_vec(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(e.what(), "flash_attn_vec: " + message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  }
  Buffer f32(const Shape& shape) { return device.buffer(DType::kF32, shape); }
  Buffer f16(const Shape& shape) { return device.buffer(DType::kF16, shape); }
};
using A = FlashAttnVecArgs;

TEST_F(FlashAttnVecErrors, TheGoodArgumentsAreGood) {
  CommandEncoder encoder(device);
  EXPECT_NO_THROW(flash_attn_vec(encoder, good()));
}

TEST_F(FlashAttnVecErrors, Shapes) {
  rejects([&](A& a) { a.q = f32({4, 96}); }, "q: head_dim must be 64, 128 or 256, got 96");
  rejects([&](A& a) { a.q = f32({0, 64}); }, "q: num_heads must be at least 1, got 0");
  rejects(
      [&](A& a) {
        a.q = f32({3, 64});
      },
      "q: num_heads must be a multiple of num_kv_heads 2, got 3");
  rejects([&](A& a) { a.q = f32({256}); }, "q: expected 2 axes, got [256]");
  rejects([&](A& a) { a.q = {}; }, "q: expected a buffer, got none");
  rejects([&](A& a) { a.k = f16({0, 100, 64}); }, "k: num_kv_heads must be at least 1, got 0");
  rejects([&](A& a) { a.k = f16({2, 100, 128}); }, "k: head_dim must be q's 64, got 128");
  rejects(
      [&](A& a) {
        a.k = f16({2, 0, 64});
        a.v = a.k;
      },
      "k: kv_capacity must be 1 to 2^31-1, got 0");
  rejects(
      [&](A& a) {
        a.v = f16({2, 99, 64});
      },
      "v: shape must be k's [2, 100, 64], got [2, 99, 64]");
  rejects([&](A& a) { a.out = f32({4, 32}); }, "out: shape must be q's [4, 64], got [4, 32]");
}

TEST_F(FlashAttnVecErrors, Dtypes) {
  rejects([&](A& a) { a.q = f16({4, 64}); }, "q: dtype must be f32, got f16");
  rejects(
      [&](A& a) {
        a.k = device.buffer(DType::kU8, {2, 100, 64});
      },
      "k: dtype must be f16, got u8");
  rejects([&](A& a) { a.v = f32({2, 100, 64}); }, "v: dtype must be f16, got f32");
  rejects([&](A& a) { a.out = f16({4, 64}); }, "out: dtype must be f32, got f16");
}

TEST_F(FlashAttnVecErrors, LengthsAndRings) {
  rejects([](A& a) { a.kv_seq_len = 0; }, "kv_seq_len: must be at least 1, got 0");
  rejects([](A& a) { a.kv_seq_len = 101; }, "kv_seq_len: must be at most kv_capacity 100, got 101");
  rejects([](A& a) { a.kv_seq_len = 100, a.ring_start = 100; },
          "ring_start: must be less than kv_capacity 100, got 100");
  rejects([](A& a) { a.ring_start = 1; },
          "ring_start: must be 0 until the ring is full (kv_seq_len 50 of 100), got 1");
}

TEST_F(FlashAttnVecErrors, ScaleAndMask) {
  rejects([](A& a) { a.scale = NAN; }, "scale: must be finite, got nan");
  rejects([](A& a) { a.scale = HUGE_VALF; }, "scale: must be finite, got inf");
  rejects([](A& a) { a.mask = static_cast<AttnMask>(3); },
          "mask: must be 0 (none), 1 (causal) or 2 (sliding window), got 3");
  rejects([](A& a) { a.mask = AttnMask::kSlidingWindow; },
          "sliding_window: must be at least 1 with a sliding window mask, got 0");
}

TEST_F(FlashAttnVecErrors, Workgroups) {
  rejects([](A& a) { a.workgroups_per_head = 2; },
          "workgroups_per_head: must be 0, 1 or 32, got 2");
  rejects([](A& a) { a.workgroups_per_head = 32; }, "tmp: needs 33792 bytes, got none");
  rejects([&](A& a) { a.workgroups_per_head = 32, a.tmp = f32({8447}); },
          "tmp: needs 33792 bytes, got 33788");
  rejects([&](A& a) { a.workgroups_per_head = 32, a.tmp = f16({16896}); },
          "tmp: dtype must be f32, got f16");
}

TEST_F(FlashAttnVecErrors, AlignmentDevicesAndOverlap) {
  const Buffer big = f16({2 * 100 * 64 + 8});
  rejects(
      [&](A& a) {
        a.k = big.slice(2, {2, 100, 64});
      },
      "k: byte offset must be a multiple of 16, got 2");
  rejects(
      [&](A& a) {
        a.v = big.slice(8, {2, 100, 64});
      },
      "v: byte offset must be a multiple of 16, got 8");
  const Device other = testing::test_device({.threads = 1});
  rejects(
      [&](A& a) {
        a.k = other.buffer(DType::kF16, {2, 100, 64});
      },
      fmt::format("k: expected a buffer of the encoder's device {}, got another device's",
                  device.name()));
  rejects([](A& a) { a.out = a.q; }, "out: must not overlap the input q");
  rejects(
      [](A& a) {
        a.out = a.k.slice(512, DType::kF32, {4, 64});
      },
      "out: must not overlap the input k");
  rejects([](A& a) { a.workgroups_per_head = 32, a.tmp = a.v.slice(0, DType::kF32, {6400}); },
          "tmp: needs 33792 bytes, got 25600");
  const Buffer shared = f32({20000});
  rejects(
      [&](A& a) {
        a.workgroups_per_head = 32;
        a.tmp = shared.slice(0, {8448});
        a.out = shared.slice(1024, {4, 64});
      },
      "tmp: must not overlap out");
  rejects(
      [&](A& a) {
        a.workgroups_per_head = 32;
        a.tmp = shared.slice(0, {8448});
        a.q = shared.slice(1024, {4, 64});
      },
      "tmp: must not overlap the input q");
  rejects([&](A& a) { a.params = device.buffer(DType::kU32, {8}); },
          "params: expected 36 bytes, got 32");
}

}  // namespace
}  // namespace decant
