#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/kernels/float16.h"
#include "decant/ops/kv_append/cases.h"
#include "decant/ops/kv_append/kv_append.h"
#include "decant/ops/kv_append/reference.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::Guarded;
using testing::random_normal;

std::vector<uint16_t> to_f16(const std::vector<float>& values) {
  std::vector<uint16_t> halves(values.size());
  std::transform(values.begin(), values.end(), halves.begin(), f16_from_f32);
  return halves;
}

std::vector<uint16_t> content(const Buffer& buffer) {
  const auto span = buffer.span<uint16_t>();
  return {span.begin(), span.end()};
}

// The caches start poisoned with 0xFFFF: a slot that should have been left alone shows.
TEST(KvAppend, MatchesReferenceBitForBit) {
  for_each_device([&](const Device& device) {
    for (const KvAppendCase& c : kKvAppendCases)
      for (const bool k_f16 : {false, true})
        for (const bool v_f16 : {false, true})
          for (const bool from_buffer : {false, true}) {
            SCOPED_TRACE(::testing::Message()
                         << c.tokens << "x" << c.num_kv_heads << "x" << c.head_dim << " at "
                         << c.position << " of " << c.kv_capacity << (c.ring ? " ring" : "")
                         << (k_f16 ? ", k f16" : "") << (v_f16 ? ", v f16" : "")
                         << (from_buffer ? ", position from a buffer" : ""));
            const Shape tokens{c.tokens, c.num_kv_heads, c.head_dim};
            const Shape cache{c.num_kv_heads, c.kv_capacity, c.head_dim};
            const std::vector<float> kv = random_normal(tokens.elements(), 1),
                                     vv = random_normal(tokens.elements(), 2);
            const std::vector<uint16_t> kh = to_f16(kv), vh = to_f16(vv);
            Guarded k(device, k_f16 ? DType::kF16 : DType::kF32, tokens),
                v(device, v_f16 ? DType::kF16 : DType::kF32, tokens),
                k_cache(device, DType::kF16, cache), v_cache(device, DType::kF16, cache);
            k.fill(k_f16 ? std::as_bytes(std::span(kh)) : std::as_bytes(std::span(kv)));
            v.fill(v_f16 ? std::as_bytes(std::span(vh)) : std::as_bytes(std::span(vv)));
            const Buffer position = device.buffer(DType::kU32, {1});
            position.span<uint32_t>()[0] = c.position;

            CommandEncoder encoder(device);
            kv_append(encoder, {.k = k.view(),
                                .v = v.view(),
                                .k_cache = k_cache.view(),
                                .v_cache = v_cache.view(),
                                .position = from_buffer ? 0 : c.position,
                                .position_buffer = from_buffer ? position : Buffer(),
                                .ring = c.ring});
            encoder.commit_and_wait();

            std::vector<uint16_t> k_want(cache.elements(), 0xFFFF), v_want = k_want;
            reference::kv_append(kh, k_want, c.num_kv_heads, c.kv_capacity, c.head_dim, c.position,
                                 c.ring);
            reference::kv_append(vh, v_want, c.num_kv_heads, c.kv_capacity, c.head_dim, c.position,
                                 c.ring);
            EXPECT_EQ(content(k_cache.view()), k_want);
            EXPECT_EQ(content(v_cache.view()), v_want);
            for (const Guarded* g : {&k, &v, &k_cache, &v_cache}) EXPECT_TRUE(g->intact());
          }
  });
}

// A position that only the device knows may be anything: nothing outside the cache is written, and
// no token lands in another head's slots.
TEST(KvAppend, HostilePositionsFromABuffer) {
  for_each_device([&](const Device& device) {
    constexpr uint64_t kTokens = 3, kHeads = 2, kDim = 24, kCapacity = 8;
    const std::vector<uint16_t> values = to_f16(random_normal(kTokens * kHeads * kDim, 3));
    const Buffer k = device.upload<uint16_t>(values, DType::kF16, {kTokens, kHeads, kDim});
    const Buffer position = device.buffer(DType::kU32, {1});
    for (const bool ring : {false, true}) {
      Guarded k_cache(device, DType::kF16, {kHeads, kCapacity, kDim}),
          v_cache(device, DType::kF16, {kHeads, kCapacity, kDim});
      Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
        kv_append(encoder, {.k = k,
                            .v = k,
                            .k_cache = k_cache.view(),
                            .v_cache = v_cache.view(),
                            .position_buffer = position,
                            .ring = ring});
      });
      for (const uint32_t p : {0u, 5u, 6u, 7u, 8u, 1000u, 0x7FFFFFFFu, 0xFFFFFFFEu, 0xFFFFFFFFu}) {
        SCOPED_TRACE(::testing::Message() << "position " << p << (ring ? ", ring" : ""));
        k_cache.poison();
        v_cache.poison();
        position.span<uint32_t>()[0] = p;
        graph.replay_and_wait();
        std::vector<uint16_t> want(kHeads * kCapacity * kDim, 0xFFFF);
        reference::kv_append(values, want, kHeads, kCapacity, kDim, p, ring);
        EXPECT_EQ(content(k_cache.view()), want);
        EXPECT_EQ(content(v_cache.view()), want);
        EXPECT_TRUE(k_cache.intact());
        EXPECT_TRUE(v_cache.intact());
      }
    }
  });
}

TEST(KvAppend, RoundsToNearestEvenAndKeepsNan) {
  for_each_device([&](const Device& device) {
    const std::vector<float> values = {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 65520.0f, -HUGE_VALF,
                                       NAN,          0x1p-25f,         -0.0f};
    const Buffer k = device.upload<float>(values, DType::kF32, {1, 1, 7});
    const Buffer k_cache = device.buffer(DType::kF16, {1, 1, 7}),
                 v_cache = device.buffer(DType::kF16, {1, 1, 7});
    CommandEncoder encoder(device);
    kv_append(encoder, {.k = k, .v = k, .k_cache = k_cache, .v_cache = v_cache});
    encoder.commit_and_wait();
    const std::span<const uint16_t> got = k_cache.span<uint16_t>();
    EXPECT_EQ(got[0], 0x3C00);
    EXPECT_EQ(got[1], 0x3C02);
    EXPECT_EQ(got[2], 0x7C00);
    EXPECT_EQ(got[3], 0xFC00);
    EXPECT_GT(got[4] & 0x7FFF, 0x7C00);
    EXPECT_EQ(got[5], 0);
    EXPECT_EQ(got[6], 0x8000);
    EXPECT_EQ(content(v_cache), content(k_cache));
  });
}

TEST(KvAppend, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer k = device.buffer(DType::kF32, {3, 2, 8}), v = device.buffer(DType::kF16, {3, 2, 8}),
               kc = device.buffer(DType::kF16, {2, 4, 8}),
               vc = device.buffer(DType::kF16, {2, 4, 8});
  CommandEncoder encoder(device);
  const auto rejected = [&](const KvAppendArgs& args, const char* message) {
    try {
      kv_append(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.k = {}, .v = v, .k_cache = kc, .v_cache = vc},
           "kv_append: k: expected a buffer, got none");
  rejected({.k = k, .v = device.buffer(DType::kBF16, {3, 2, 8}), .k_cache = kc, .v_cache = vc},
           "kv_append: v: dtype must be f32 or f16, got bf16");
  rejected({.k = k, .v = v, .k_cache = device.buffer(DType::kF32, {2, 4, 8}), .v_cache = vc},
           "kv_append: k_cache: dtype must be f16, got f32");
  rejected({.k = k.reshape({6, 8}), .v = v, .k_cache = kc, .v_cache = vc},
           "kv_append: k: expected the shape [n, num_kv_heads, head_dim], got [6, 8]");
  rejected({.k = k, .v = v.reshape({2, 3, 8}), .k_cache = kc, .v_cache = vc},
           "kv_append: v: expected the shape [3, 2, 8] as k has, got [2, 3, 8]");
  rejected({.k = k, .v = v, .k_cache = kc.reshape({4, 2, 8}), .v_cache = vc},
           "kv_append: k_cache: expected the shape [2, kv_capacity, 8], got [4, 2, 8]");
  rejected({.k = k, .v = v, .k_cache = kc, .v_cache = device.buffer(DType::kF16, {2, 5, 8})},
           "kv_append: v_cache: expected the shape [2, 4, 8] as k_cache has, got [2, 5, 8]");
  rejected({.k = k, .v = v, .k_cache = kc, .v_cache = vc, .position = 2},
           "kv_append: position: 2 and 3 tokens do not fit a linear cache of 4 slots");
  rejected({.k = k, .v = v, .k_cache = kc, .v_cache = vc, .position = UINT32_MAX, .ring = true},
           "kv_append: position: 4294967295 and 3 tokens pass 2^32");
  rejected({.k = k, .v = v, .k_cache = kc, .v_cache = vc, .position_buffer = k},
           "kv_append: position_buffer: expected u32 [1], got f32 [3, 2, 8]");
  rejected({.k = k,
            .v = v,
            .k_cache = kc.slice(0, {2, 2, 8}),
            .v_cache = vc.slice(0, {2, 2, 8}),
            .position_buffer = device.buffer(DType::kU32, {1})},
           "kv_append: k: 3 tokens do not fit a linear cache of 2 slots");
  rejected({.k = k, .v = v, .k_cache = kc, .v_cache = kc},
           "kv_append: k_cache: must not overlap v_cache");
  const Buffer big = device.buffer(DType::kF16, {256});
  rejected(
      {.k = k, .v = big.slice(64, {3, 2, 8}), .k_cache = kc, .v_cache = big.slice(0, {2, 4, 8})},
      "kv_append: v_cache: must not overlap an input");
  EXPECT_THROW(
      kv_append(encoder,
                {.k = k, .v = v, .k_cache = other.buffer(DType::kF16, {2, 4, 8}), .v_cache = vc}),
      Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
