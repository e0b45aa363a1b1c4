// Planted faults: a comparator that passes one of these proves nothing anywhere else.
#include "testing/compare.h"

#include <cmath>
#include <limits>

namespace decant::testing {
namespace {

std::vector<double> widen(const std::vector<float>& v) { return {v.begin(), v.end()}; }

TEST(RowsNear, AcceptsEqualAndNearlyEqual) {
  std::vector<float> got = random_normal(64 * 16, 1);
  const std::vector<double> want = widen(got);
  EXPECT_TRUE(rows_near(got, want, 16, 0));
  for (float& v : got) v *= 1 + 1e-6f;
  EXPECT_TRUE(rows_near(got, want, 16, 1e-5));
  EXPECT_FALSE(rows_near(got, want, 16, 1e-7));
}

TEST(RowsNear, FindsOneBadRowIn4096) {
  std::vector<float> got = random_normal(4096 * 8, 2);
  const std::vector<double> want = widen(got);
  got[1234 * 8 + 5] += 0.01f;
  EXPECT_FALSE(rows_near(got, want, 8, 1e-4));
}

TEST(RowsNear, FindsNanAndInfEverywhere) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), HUGE_VALF, -HUGE_VALF}) {
    std::vector<float> got = random_normal(128, 3);
    std::vector<double> want = widen(got);
    got[127] = bad;
    EXPECT_FALSE(rows_near(got, want, 16, 1e30));
    want[127] = bad;  // an oracle that is NaN proves nothing either
    EXPECT_FALSE(rows_near(got, want, 16, 1e30));
  }
}

TEST(RowsNear, AZeroRowMustBeZero) {
  std::vector<float> got(16, 0.0f);
  const std::vector<double> want(16, 0.0);
  EXPECT_TRUE(rows_near(got, want, 16, 1e-5));
  got[3] = 1e-20f;
  EXPECT_FALSE(rows_near(got, want, 16, 1e-5));
}

TEST(RowsNear, RejectsWrongSizesAndBounds) {
  const std::vector<float> got(16);
  const std::vector<double> want(16);
  EXPECT_FALSE(rows_near(std::span(got).first(15), want, 5, 1));
  EXPECT_FALSE(rows_near(got, want, 5, 1));
  EXPECT_FALSE(rows_near({}, {}, 1, 1));
  EXPECT_FALSE(rows_near(got, want, 8, NAN));
  EXPECT_FALSE(rows_near(got, want, 8, 1, std::vector<double>{1.0}));
}

TEST(TakeOutNonfinite, ComparesNanAndInfinitiesAndLeavesTheRest) {
  const std::vector<double> all = {1, NAN, INFINITY, -INFINITY, 2};
  std::vector<double> want = all;
  std::vector<float> got = {1, NAN, INFINITY, -INFINITY, NAN};
  EXPECT_TRUE(take_out_nonfinite(got, want));
  EXPECT_EQ(want, (std::vector<double>{1, 0, 0, 0, 2}));
  EXPECT_EQ(got[2], 0);
  EXPECT_TRUE(std::isnan(got[4]));  // rows_near()'s to find
  for (const size_t i : {1, 2, 3})
    for (const float other : {0.0f, std::numeric_limits<float>::max(), -INFINITY, INFINITY, NAN}) {
      if (i == 1 ? std::isnan(other) : double{other} == all[i]) continue;
      got = {1, NAN, INFINITY, -INFINITY, 2};
      got[i] = other;
      want = all;
      EXPECT_FALSE(take_out_nonfinite(got, want)) << i << " " << other;
    }
  want = all;
  EXPECT_FALSE(take_out_nonfinite(std::span(got).first(4), want));
}

TEST(BitsEqual, TellsSignedZerosApart) {
  EXPECT_TRUE(bits_equal(std::vector<float>{1, NAN}, std::vector<float>{1, NAN}));
  EXPECT_FALSE(bits_equal(std::vector<float>{0.0f}, std::vector<float>{-0.0f}));
  EXPECT_FALSE(bits_equal(std::vector<float>{1}, std::vector<float>{1, 2}));
}

TEST(RandomNormal, IsSeededAndNormal) {
  const std::vector<float> a = random_normal(100000, 7);
  EXPECT_EQ(a, random_normal(100000, 7));
  EXPECT_NE(a, random_normal(100000, 8));
  double mean = 0, square = 0;
  for (const float v : a) {
    mean += v;
    square += v * v;
  }
  EXPECT_NEAR(mean / 1e5, 0, 0.02);
  EXPECT_NEAR(square / 1e5, 1, 0.02);
}

}  // namespace
}  // namespace decant::testing
