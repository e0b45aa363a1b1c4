#include <gtest/gtest.h>

#include <cmath>

#include "decant/core/error.h"
#include "decant/ops/flash_attn_prefill/flash_attn_prefill.h"
#include "testing/devices.h"

namespace decant {
namespace {

// Arguments that are accepted, for each test to spoil one: 3 tokens, 4/2 heads of 64, 5 of 8 slots.
class FlashAttnPrefillErrors : public ::testing::Test {
 protected:
  Buffer f16(const Shape& shape) const { return device_.buffer(DType::kF16, shape); }
  Buffer f32(const Shape& shape) const { return device_.buffer(DType::kF32, shape); }

  void rejected(const char* message) {
    try {
      flash_attn_prefill(encoder_, args_);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder_.commands().dispatches.empty());
  }

  Device device_ = testing::test_device({.threads = 1});
  CommandEncoder encoder_{device_};
  FlashAttnPrefillArgs args_{.q = f32({3, 4, 64}),
                             .k_new = f16({3, 2, 64}),
                             .v_new = f16({3, 2, 64}),
                             .k_cache = f16({2, 8, 64}),
                             .v_cache = f16({2, 8, 64}),
                             .out = f32({3, 4, 64}),
                             .kv_seq_len = 5,
                             .scale = 0.125f};
};

TEST_F(FlashAttnPrefillErrors, NoneInTheUnspoiltArguments) {
  flash_attn_prefill(encoder_, args_);
  ASSERT_EQ(encoder_.commands().dispatches.size(), 1u);
  EXPECT_EQ(encoder_.commands().dispatches[0].kind, OpKind::kSdpa);
}

TEST_F(FlashAttnPrefillErrors, MissingBuffer) {
  args_.v_new = {};
  rejected("flash_attn_prefill: v_new: expected a buffer, got none");
}
TEST_F(FlashAttnPrefillErrors, MissingCache) {
  args_.k_cache = args_.v_cache = {};
  rejected("flash_attn_prefill: k_cache: expected a buffer, got none");
}
TEST_F(FlashAttnPrefillErrors, HalfACache) {
  args_.v_cache = {};
  args_.kv_seq_len = 0;
  rejected("flash_attn_prefill: v_cache: expected a buffer, got none");
}

TEST_F(FlashAttnPrefillErrors, QueryDtype) {
  args_.q = f16({3, 4, 64});
  rejected("flash_attn_prefill: q: dtype must be f32, got f16");
}
TEST_F(FlashAttnPrefillErrors, OutDtype) {
  args_.out = device_.buffer(DType::kF64, {3, 4, 64});
  rejected("flash_attn_prefill: out: dtype must be f32, got f64");
}
TEST_F(FlashAttnPrefillErrors, KeyDtype) {
  args_.k_cache = device_.buffer(DType::kU8, {2, 8, 64});
  rejected("flash_attn_prefill: k_cache: dtype must be f16, got u8");
}
TEST_F(FlashAttnPrefillErrors, KeysAndValuesOfDifferentDtypes) {
  args_.v_new = device_.buffer(DType::kBF16, {3, 2, 64});
  rejected("flash_attn_prefill: v_new: dtype must be f16, got bf16");
}

TEST_F(FlashAttnPrefillErrors, Rank) {
  args_.q = f32({3, 256});
  rejected("flash_attn_prefill: q: expected 3 dimensions, got shape [3, 256]");
}
TEST_F(FlashAttnPrefillErrors, NoTokens) {
  args_.q = f32({0, 4, 64});
  rejected("flash_attn_prefill: q: expected at least 1 token, got shape [0, 4, 64]");
}
TEST_F(FlashAttnPrefillErrors, NoHeads) {
  args_.q = f32({3, 0, 64});
  rejected("flash_attn_prefill: q: num_heads must not be 0, got shape [3, 0, 64]");
}
TEST_F(FlashAttnPrefillErrors, NoKvHeads) {
  args_.k_new = f16({3, 0, 64});
  rejected("flash_attn_prefill: k_new: num_kv_heads must not be 0, got shape [3, 0, 64]");
}
TEST_F(FlashAttnPrefillErrors, HeadsNotAMultipleOfKvHeads) {
  args_.k_new = args_.v_new = f16({3, 3, 64});
  rejected("flash_attn_prefill: q: num_heads must be a multiple of num_kv_heads 3, got 4");
}
TEST_F(FlashAttnPrefillErrors, HeadDim) {
  args_.q = args_.out = f32({3, 4, 72});
  rejected("flash_attn_prefill: q: head_dim must be a multiple of 16 from 16 to 512, got 72");
  args_.q = args_.out = f32({3, 4, 528});
  rejected("flash_attn_prefill: q: head_dim must be a multiple of 16 from 16 to 512, got 528");
  args_.q = args_.out = f32({3, 4, 0});
  rejected("flash_attn_prefill: q: head_dim must be a multiple of 16 from 16 to 512, got 0");
}

TEST_F(FlashAttnPrefillErrors, NewKeysTooSmall) {
  args_.k_new = f16({2, 2, 64});
  rejected("flash_attn_prefill: k_new: shape must be [3, 2, 64], got [2, 2, 64]");
}
TEST_F(FlashAttnPrefillErrors, NewValuesTooSmall) {
  args_.v_new = f16({3, 2, 48});
  rejected("flash_attn_prefill: v_new: shape must be [3, 2, 64], got [3, 2, 48]");
}
TEST_F(FlashAttnPrefillErrors, OutTooSmall) {
  args_.out = f32({3, 3, 64});
  rejected("flash_attn_prefill: out: shape must be [3, 4, 64], got [3, 3, 64]");
}
TEST_F(FlashAttnPrefillErrors, CacheTooSmall) {
  args_.k_cache = f16({1, 8, 64});
  rejected("flash_attn_prefill: k_cache: shape must be [2, 8, 64], got [1, 8, 64]");
}
TEST_F(FlashAttnPrefillErrors, CachesDiffer) {
  args_.v_cache = f16({2, 7, 64});
  rejected("flash_attn_prefill: v_cache: shape must be [2, 8, 64], got [2, 7, 64]");
}

TEST_F(FlashAttnPrefillErrors, MoreKeysThanSlots) {
  args_.kv_seq_len = 9;
  rejected("flash_attn_prefill: kv_seq_len: must be at most kv_capacity 8, got 9");
}
TEST_F(FlashAttnPrefillErrors, TooManyKeys) {
  args_.kv_seq_len = 0x7FFFFFFF;
  rejected(
      "flash_attn_prefill: q: 3 tokens after 2147483647 older ones are too many for 32-bit "
      "indices");
}
TEST_F(FlashAttnPrefillErrors, RingStartOutsideTheCache) {
  args_.kv_seq_len = args_.ring_start = 8;
  rejected("flash_attn_prefill: ring_start: must be less than kv_capacity 8, got 8");
}
TEST_F(FlashAttnPrefillErrors, RingStartBeforeTheCacheIsFull) {
  args_.ring_start = 1;
  rejected(
      "flash_attn_prefill: ring_start: must be 0 until the cache is full (5 of 8 slots), got 1");
}
TEST_F(FlashAttnPrefillErrors, RingStartWithoutACache) {
  args_.k_cache = args_.v_cache = {};
  args_.kv_seq_len = 0;
  args_.ring_start = 1;
  rejected("flash_attn_prefill: ring_start: must be 0 without a cache, got 1");
}

TEST_F(FlashAttnPrefillErrors, ScaleNotFinite) {
  args_.scale = INFINITY;
  rejected("flash_attn_prefill: scale: must be finite, got inf");
  args_.scale = NAN;
  rejected("flash_attn_prefill: scale: must be finite, got nan");
}
TEST_F(FlashAttnPrefillErrors, UnknownMask) {
  args_.mask = static_cast<AttnMask>(3);
  rejected("flash_attn_prefill: mask: must be 0 (none), 1 (causal) or 2 (sliding window), got 3");
}
TEST_F(FlashAttnPrefillErrors, WindowOfNoKeys) {
  args_.mask = AttnMask::kSlidingWindow;
  rejected(
      "flash_attn_prefill: sliding_window: must be at least 1 with a sliding window mask, got 0");
}

TEST_F(FlashAttnPrefillErrors, Misaligned) {
  args_.k_cache = f16({2, 8, 80}).slice(8, {2, 8, 64});
  rejected("flash_attn_prefill: k_cache: byte offset must be a multiple of 16, got 8");
}
TEST_F(FlashAttnPrefillErrors, AnotherDevice) {
  const Device other = testing::test_device({.threads = 1});
  args_.v_cache = other.buffer(DType::kF16, {2, 8, 64});
  rejected(("flash_attn_prefill: v_cache: must belong to the encoder's device " + device_.name() +
            ", got another device's")
               .c_str());
}
TEST_F(FlashAttnPrefillErrors, OutIsTheQuery) {
  args_.out = args_.q;
  rejected("flash_attn_prefill: out: must not overlap q");
}
TEST_F(FlashAttnPrefillErrors, OutOverlapsTheCache) {
  const Buffer both = device_.buffer(DType::kU8, {8192});
  args_.v_cache = both.slice(0, DType::kF16, {2, 8, 64});  // 2048 bytes
  args_.out = both.slice(2044, DType::kF32, {3, 4, 64});
  rejected("flash_attn_prefill: out: must not overlap v_cache");
}

}  // namespace
}  // namespace decant
