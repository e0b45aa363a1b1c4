#include "tools/decant/log_sum_exp.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tools/decant/log_sum_exp.cc"
#include <hwy/foreach_target.h>
// Above the others, or the first target is compiled twice.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::cli {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A vocabulary of 262,144 for each of thousands of positions: std::exp would take longer than the
// model.
double sum_exp(const float* values, size_t size, double subtrahend) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const size_t lanes = hn::Lanes(d);
  const auto shift = hn::Set(d, subtrahend);
  auto sum = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= size; i += lanes) {
    const auto wide = hn::PromoteTo(d, hn::LoadU(narrow, values + i));
    sum = hn::Add(sum, hn::Exp(d, hn::Sub(wide, shift)));
  }
  double total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < size; ++i) total += std::exp(static_cast<double>(values[i]) - subtrahend);
  return total;
}

}  // namespace HWY_NAMESPACE
}  // namespace decant::cli
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cli {
HWY_EXPORT(sum_exp);

double log_sum_exp(std::span<const float> values) {
  if (values.empty()) return -std::numeric_limits<double>::infinity();
  const double greatest = *std::max_element(values.begin(), values.end());
  return greatest + std::log(HWY_DYNAMIC_DISPATCH(sum_exp)(values.data(), values.size(), greatest));
}

}  // namespace decant::cli
#endif
