// All 65,536 halves and the boundaries between them, scalar and vector, on every SIMD target.
#include "decant/kernels/float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "testing/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/kernels/float16_test.cc"
#include <hwy/foreach_target.h>
// Below foreach_target.h: included once for each target.
#include <hwy/highway.h>

#include "decant/kernels/float16-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::HWY_NAMESPACE {

void load_all(const uint16_t* from, float* to, size_t n) {
  const hn::ScalableTag<float> d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) hn::StoreU(load_f16(d, from + i), d, to + i);
}
void store_all(const float* from, uint16_t* to, size_t n) {
  const hn::ScalableTag<float> d;
  for (size_t i = 0; i < n; i += hn::Lanes(d)) store_f16(hn::LoadU(d, from + i), d, to + i);
}

}  // namespace decant::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant {
namespace {

HWY_EXPORT(load_all);
HWY_EXPORT(store_all);

bool is_nan16(uint16_t h) { return (h & 0x7FFF) > 0x7C00; }

double half_value(uint16_t h) {  // from the definition
  const int exponent = h >> 10 & 31, mantissa = h & 1023;
  double value = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
  if (exponent == 31) value = mantissa ? NAN : HUGE_VAL;
  return h & 0x8000 ? -value : value;
}

TEST(Float16, EveryHalf) {
  std::vector<uint16_t> halves(65536), back(65536);
  for (size_t i = 0; i < 65536; ++i) halves[i] = static_cast<uint16_t>(i);
  std::vector<float> wide(65536);
  testing::for_each_simd_target([&](const std::string&) {
    HWY_DYNAMIC_DISPATCH(load_all)(halves.data(), wide.data(), 65536);
    HWY_DYNAMIC_DISPATCH(store_all)(wide.data(), back.data(), 65536);
    for (const uint16_t h : halves) {
      const double want = half_value(h);
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(wide[h]) && std::isnan(f32_from_f16(h))) << h;
        ASSERT_TRUE(is_nan16(back[h]) && is_nan16(f16_from_f32(wide[h]))) << h;
      } else {
        ASSERT_EQ(wide[h], want) << h;
        ASSERT_EQ(f32_from_f16(h), want) << h;
        ASSERT_EQ(back[h], h);
        ASSERT_EQ(f16_from_f32(wide[h]), h);
      }
    }
  });
}

TEST(Float16, RoundsToNearestEven) {
  // Between two neighbours: just below the middle, the middle, just above it.
  std::vector<float> values;
  std::vector<uint16_t> want;
  for (uint16_t h = 0; h < 0x7BFF; ++h) {
    const auto middle = static_cast<float>((half_value(h) + half_value(h + 1)) / 2);
    values.insert(values.end(),
                  {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 1e9f)});
    const auto up = static_cast<uint16_t>(h + 1);
    want.insert(want.end(), {h, h & 1 ? up : h, up});
  }
  values.insert(values.end(), {65519.0f, 65520.0f, 1e6f, HUGE_VALF, 1e-10f, 1e-40f});
  want.insert(want.end(), {0x7BFF, 0x7C00, 0x7C00, 0x7C00, 0, 0});
  const size_t n = values.size();
  values.resize(n + 16);
  std::vector<uint16_t> got(n + 16);
  testing::for_each_simd_target([&](const std::string&) {
    HWY_DYNAMIC_DISPATCH(store_all)(values.data(), got.data(), n);
    for (size_t i = 0; i < n; ++i) {
      ASSERT_EQ(f16_from_f32(values[i]), want[i]) << values[i];
      ASSERT_EQ(got[i], want[i]) << values[i];
    }
  });
}

TEST(Float16, Bfloat16) {
  EXPECT_EQ(f32_from_bf16(0x3FC0), 1.5f);
  EXPECT_EQ(bf16_from_f32(1.0f + 0x1p-8f), 0x3F80);             // a tie, to even
  EXPECT_EQ(bf16_from_f32(1.0f + 0x1p-7f + 0x1p-8f), 0x3F82);   // a tie, to even
  EXPECT_EQ(bf16_from_f32(1.0f + 0x1p-8f + 0x1p-20f), 0x3F81);  // above the tie
  EXPECT_EQ(bf16_from_f32(3.4e38f), 0x7F80);
  EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(NAN))));
}

}  // namespace
}  // namespace decant
#endif
