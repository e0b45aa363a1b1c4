#include "testing/compare.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace decant::testing {

using ::testing::AssertionFailure;
using ::testing::AssertionResult;
using ::testing::AssertionSuccess;

AssertionResult rows_near(std::span<const float> got, std::span<const double> want,
                          size_t row_elems, double bound, std::span<const double> scale) {
  if (got.size() != want.size())
    return AssertionFailure() << "got " << got.size() << " elements, want " << want.size();
  if (row_elems == 0 || got.empty() || got.size() % row_elems != 0)
    return AssertionFailure() << got.size() << " elements are not rows of " << row_elems;
  const size_t rows = got.size() / row_elems;
  if (!scale.empty() && scale.size() != rows)
    return AssertionFailure() << scale.size() << " scales for " << rows << " rows";
  if (!(bound >= 0)) return AssertionFailure() << "the bound " << bound << " is not a number >= 0";

  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(want[i]))
      return AssertionFailure() << "the reference is " << want[i] << " at " << i;
    if (!std::isfinite(got[i]))
      return AssertionFailure() << "got " << got[i] << " at row " << i / row_elems << ", element "
                                << i % row_elems << ", want " << want[i];
  }
  double worst = 0;
  size_t worst_row = 0;
  for (size_t r = 0; r < rows; ++r) {
    double error = 0, norm = 0;
    for (size_t i = r * row_elems; i < (r + 1) * row_elems; ++i) {
      error += (got[i] - want[i]) * (got[i] - want[i]);
      norm += want[i] * want[i];
    }
    const double unit = scale.empty() ? std::sqrt(norm) : scale[r];
    const double relative = error == 0 ? 0 : unit > 0 ? std::sqrt(error) / unit : HUGE_VAL;
    if (relative > worst) {
      worst = relative;
      worst_row = r;
    }
  }
  if (worst <= bound) return AssertionSuccess();
  return AssertionFailure() << "row " << worst_row << " of " << rows << " has relative error "
                            << worst << ", the bound is " << bound;
}

AssertionResult take_out_nonfinite(std::span<float> got, std::span<double> want) {
  if (got.size() != want.size())
    return AssertionFailure() << got.size() << " elements, want " << want.size();
  size_t wrong = 0, first = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isfinite(want[i])) continue;
    const bool equal = std::isnan(want[i]) ? std::isnan(got[i]) : double{got[i]} == want[i];
    if (!equal && wrong++ == 0) first = i;
    if (equal) got[i] = want[i] = 0;
  }
  if (wrong == 0) return AssertionSuccess();
  return AssertionFailure() << wrong << " differ; element " << first << ": got " << got[first]
                            << ", want " << want[first];
}

AssertionResult bits_equal(std::span<const float> got, std::span<const float> want) {
  if (got.size() != want.size())
    return AssertionFailure() << "got " << got.size() << " elements, want " << want.size();
  for (size_t i = 0; i < got.size(); ++i)
    if (std::bit_cast<uint32_t>(got[i]) != std::bit_cast<uint32_t>(want[i]))
      return AssertionFailure() << "element " << i << " is " << got[i] << ", want " << want[i];
  return AssertionSuccess();
}

std::vector<float> random_normal(size_t n, uint64_t seed, float scale) {
  // SplitMix64 (Steele, Lea, Flood 2014) and Box-Muller: std::normal_distribution differs between
  // standard libraries.
  uint64_t state = seed;
  const auto uniform = [&state] {
    state += 0x9E3779B97F4A7C15ull;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    z ^= z >> 31;
    return (static_cast<double>(z >> 11) + 0.5) * 0x1p-53;
  };
  std::vector<float> values(n);
  for (float& v : values)
    v = scale * static_cast<float>(std::sqrt(-2 * std::log(uniform())) *
                                   std::cos(2 * std::numbers::pi * uniform()));
  return values;
}

}  // namespace decant::testing
