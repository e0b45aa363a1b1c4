#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "decant/core/error.h"
#include "decant/kernels/float16.h"
#include "decant/ops/cast/cases.h"
#include "decant/ops/cast/cast.h"
#include "decant/ops/cast/reference.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/guarded.h"
#include "testing/simd_targets.h"

namespace decant {
namespace {

using testing::for_each_device;
using testing::for_each_simd_target;
using testing::Guarded;
using testing::random_normal;

constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16};

reference::FloatFormat format_of(DType dtype) {
  return dtype == DType::kF32   ? reference::kFormatF32
         : dtype == DType::kF16 ? reference::kFormatF16
                                : reference::kFormatBF16;
}

double value_at(const Buffer& buffer, size_t i) {
  switch (buffer.dtype()) {
    case DType::kF32:
      return buffer.span<float>()[i];
    case DType::kF16:
      return f32_from_f16(buffer.span<uint16_t>()[i]);
    default:
      return f32_from_bf16(buffer.span<uint16_t>()[i]);
  }
}

// Every element of `out` is the nearest to the value of `x`'s, signs of zero included.
void expect_rounded(const Buffer& x, const Buffer& out) {
  for (size_t i = 0; i < x.elements(); ++i) {
    const double from = value_at(x, i), got = value_at(out, i);
    const double want = reference::round_to(from, format_of(out.dtype()));
    if (std::isnan(from)) {
      ASSERT_TRUE(std::isnan(got)) << "element " << i << " became " << got;
    } else {
      ASSERT_EQ(got, want) << "element " << i << " is " << from;
      ASSERT_EQ(std::signbit(got), std::signbit(want)) << "element " << i << " is " << from;
    }
  }
}

TEST(Cast, EverySize) {
  for_each_device([&](const Device& device) {
    for (const CastCase& c : kCastCases)
      for (const DType from : kTypes)
        for (const DType to : kTypes) {
          SCOPED_TRACE(::testing::Message()
                       << to_string(from) << " to " << to_string(to) << ", " << c.elements);
          Guarded x(device, from, {c.elements}), out(device, to, {c.elements});
          const std::vector<float> values = random_normal(c.elements, 1);
          for (size_t i = 0; i < c.elements; ++i) {
            if (from == DType::kF32)
              x.view().span<float>()[i] = values[i];
            else
              x.view().span<uint16_t>()[i] =
                  from == DType::kF16 ? f16_from_f32(values[i]) : bf16_from_f32(values[i]);
          }
          CommandEncoder encoder(device);
          cast(encoder, {.x = x.view(), .out = out.view()});
          encoder.commit_and_wait();
          expect_rounded(x.view(), out.view());
          EXPECT_TRUE(out.intact());
          EXPECT_TRUE(x.intact());
        }
  });
}

TEST(Cast, EveryNarrowValue) {
  const Device device = Device::cpu();
  std::vector<uint16_t> all(65536);
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<uint16_t>(i);
  for_each_simd_target([&](const std::string&) {
    for (const DType from : {DType::kF16, DType::kBF16})
      for (const DType to : kTypes) {
        SCOPED_TRACE(::testing::Message() << to_string(from) << " to " << to_string(to));
        const Buffer x = device.upload<uint16_t>(all, from, {65536});
        const Buffer out = device.buffer(to, {65536});
        CommandEncoder encoder(device);
        cast(encoder, {.x = x, .out = out});
        encoder.commit_and_wait();
        expect_rounded(x, out);
      }
  });
}

TEST(Cast, RoundsAtEveryBoundary) {
  // The middle between two neighbouring narrow values, and the f32 values next to it: ties go to
  // even, the rest to the nearer. Then a sweep over all exponents, with NaN and infinities.
  for_each_device([&](const Device& device) {
    for (const DType to : {DType::kF16, DType::kBF16}) {
      SCOPED_TRACE(to_string(to));
      std::vector<float> values;
      const auto wide = [&](uint32_t bits) {
        const auto h = static_cast<uint16_t>(bits);
        return to == DType::kF16 ? f32_from_f16(h) : f32_from_bf16(h);
      };
      const uint32_t infinity = to == DType::kF16 ? 0x7C00 : 0x7F80;
      for (uint32_t h = 0; h + 1 < infinity; ++h) {
        const float middle = static_cast<float>((double{wide(h)} + double{wide(h + 1)}) / 2);
        for (const float v :
             {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, HUGE_VALF)})
          values.insert(values.end(), {v, -v});
      }
      for (uint64_t bits = 0; bits < uint64_t{1} << 32; bits += 65521 * 3) {
        const auto pattern = static_cast<uint32_t>(bits);
        float v = 0;
        std::memcpy(&v, &pattern, sizeof v);
        values.push_back(v);
      }
      values.insert(values.end(), {65519.996f, 65520.0f, 3.4028235e38f, 3.3961775e38f, 3.396e38f,
                                   HUGE_VALF, -HUGE_VALF, NAN, -NAN, 0.0f, -0.0f, 1e-45f});
      const Buffer x = device.upload<float>(values, DType::kF32, {values.size()});
      const Buffer out = device.buffer(to, {values.size()});
      CommandEncoder encoder(device);
      cast(encoder, {.x = x, .out = out});
      encoder.commit_and_wait();
      expect_rounded(x, out);
    }
  });
}

TEST(Cast, RejectsBadArguments) {
  const Device device = Device::cpu(), other = Device::cpu();
  const Buffer f32 = device.buffer(DType::kF32, {8}), f16 = device.buffer(DType::kF16, {8});
  CommandEncoder encoder(device);
  const auto rejected = [&](const CastArgs& args, const char* message) {
    try {
      cast(encoder, args);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_STREQ(e.what(), message);
    }
    EXPECT_TRUE(encoder.commands().dispatches.empty());
  };
  rejected({.x = {}, .out = f16}, "cast: x: expected a buffer, got none");
  rejected({.x = f32, .out = device.buffer(DType::kI32, {8})},
           "cast: out: dtype must be f32, f16 or bf16, got i32");
  rejected({.x = f32, .out = f16.rows(0, 7)}, "cast: out: expected 8 elements as x has, got 7");
  rejected({.x = f32.rows(0, 0), .out = f16.rows(0, 0)},
           "cast: x: expected 1 to 2^44 elements, got 0");
  rejected({.x = f32, .out = f32}, "cast: out: must not overlap x");
  rejected({.x = f32.rows(0, 4), .out = f32.slice(0, DType::kF16, {4})},
           "cast: out: must not overlap x");
  EXPECT_THROW(cast(encoder, {.x = other.buffer(DType::kF32, {8}), .out = f16}), Error);
  EXPECT_TRUE(encoder.commands().dispatches.empty());
}

}  // namespace
}  // namespace decant
