// Comparators that cannot be fooled: NaN and Inf fail first, and errors count row by row, so that
// one bad row in 4,096 fails.
#ifndef DECANT_TESTING_COMPARE_H_
#define DECANT_TESTING_COMPARE_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <span>
#include <vector>

namespace decant::testing {

// For every row of `row_elems` elements: ||got - want||_2 <= bound * scale[row]. An empty `scale`
// stands for ||want||_2 of the row; a row whose scale is 0 must be equal. Reports the worst row.
::testing::AssertionResult rows_near(std::span<const float> got, std::span<const double> want,
                                     size_t row_elems, double bound,
                                     std::span<const double> scale = {});

// What is NaN in `want` is NaN in `got`, and what is infinite is that infinity; they are 0 in both
// afterwards, so that rows_near() judges the rest. Reports how many differ, and the first.
::testing::AssertionResult take_out_nonfinite(std::span<float> got, std::span<double> want);

// Bit for bit, NaN included. Reports the first difference.
::testing::AssertionResult bits_equal(std::span<const float> got, std::span<const float> want);

// Seeded normal(0, 1) values: the same on every platform.
std::vector<float> random_normal(size_t n, uint64_t seed, float scale = 1.0f);

}  // namespace decant::testing

#endif  // DECANT_TESTING_COMPARE_H_
