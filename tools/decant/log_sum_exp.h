// log(sum(exp(values))) in double precision.
#ifndef DECANT_TOOLS_DECANT_LOG_SUM_EXP_H_
#define DECANT_TOOLS_DECANT_LOG_SUM_EXP_H_

#include <span>

namespace decant::cli {

// For values without NaN; exact to a few units in the 15th digit. -inf for no values.
double log_sum_exp(std::span<const float> values);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_LOG_SUM_EXP_H_
