#ifndef DECANT_OPS_SAMPLE_REFERENCE_H_
#define DECANT_OPS_SAMPLE_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <set>
#include <span>
#include <vector>

#include "decant/ops/sample/params.h"

namespace decant::reference {

// The probability of each token. `recent` are the tokens that the penalty looks at; the logits are
// finite.
inline std::vector<double> sample_distribution(std::span<const float> logits, const SampleParams& p,
                                               std::span<const int32_t> recent) {
  const size_t vocab = logits.size();
  std::vector<double> logit(logits.begin(), logits.end());
  for (const int32_t token : std::set<int32_t>(recent.begin(), recent.end())) {
    // Rounded to f32, as the op's logits are: else two that tie in f32 would not here.
    const float value = logits[static_cast<size_t>(token)];
    logit[static_cast<size_t>(token)] =
        value > 0 ? value / p.repeat_penalty : value * p.repeat_penalty;
  }

  std::vector<size_t> order(vocab);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return logit[a] > logit[b]; });
  const double max = logit[order[0]];
  if (p.top_k > 0) order.resize(std::min<size_t>(vocab, p.top_k));
  if (p.top_p < 1) {
    double sum = 0, reached = 0;
    for (const size_t i : order) sum += std::exp(logit[i] - max);
    size_t kept = 0;
    while (kept < order.size()) {
      reached += std::exp(logit[order[kept++]] - max) / sum;
      if (reached >= static_cast<double>(p.top_p)) break;
    }
    order.resize(kept);
  }
  if (p.min_p > 0)
    while (logit[order.back()] - max < std::log(static_cast<double>(p.min_p))) order.pop_back();
  if (p.temp == 0) order.resize(1);

  std::vector<double> probability(vocab, 0.0);
  double sum = 0;
  for (const size_t i : order) {
    probability[i] = p.temp == 0 ? 1 : std::exp((logit[i] - max) / static_cast<double>(p.temp));
    sum += probability[i];
  }
  for (double& value : probability) value /= sum;
  return probability;
}

// The token at `fraction` of the distribution function, tokens ascending.
inline int32_t sample(std::span<const double> probability, double fraction) {
  double sum = 0;
  int32_t last = 0;
  for (size_t i = 0; i < probability.size(); ++i) {
    if (probability[i] > 0) last = static_cast<int32_t>(i);
    sum += probability[i];
    if (sum > fraction) break;
  }
  return last;
}

}  // namespace decant::reference

#endif  // DECANT_OPS_SAMPLE_REFERENCE_H_
