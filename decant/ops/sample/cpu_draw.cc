// Second kernel of sample: one group reduces what the chunks hand on to the tokens that stay, and
// draws. Everything here is double precision in a fixed order.
#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "decant/core/kernel_registry.h"
#include "decant/kernels/philox.h"
#include "decant/ops/sample/plan.h"

namespace decant::cpu {
namespace {

// value - max, where equal infinities are equal.
double below(float value, float max) {
  return value == max ? 0 : static_cast<double>(value) - static_cast<double>(max);
}

// exp((value - max) / temp); a NaN has no weight.
double weight(float value, float max, float temp) {
  const double exponent = below(value, max) / static_cast<double>(temp);
  return exponent > -745 ? std::exp(exponent) : 0;  // where exp underflows to 0
}

// The candidates in descending order, and the sum of exp(logit - max) over those that top_p counts.
struct Candidates {
  uint64_t* keys;
  size_t count;
  double sum;  // only if top_p < 1

  float value(size_t i) const { return key_value(keys[i]); }
};

Candidates best_of(uint64_t* keys, size_t count, size_t top_k, const SampleFilter& filter) {
  if (count > top_k) {
    std::nth_element(keys, keys + top_k, keys + count, std::greater<>());
    count = top_k;
  }
  std::sort(keys, keys + count, std::greater<>());
  Candidates result{keys, count, 0};
  if (filter.top_p < 1)
    for (size_t i = 0; i < count; ++i) result.sum += weight(result.value(i), result.value(0), 1);
  return result;
}

// What the chunks have selected.
Candidates selected(const SampleFilter& filter, uint64_t* keys, size_t chunks) {
  // A short chunk has fewer; 0 is no key.
  const uint64_t* end = std::remove(keys, keys + chunks * filter.top_k, uint64_t{0});
  return best_of(keys, static_cast<size_t>(end - keys), filter.top_k, filter);
}

// Of all logits, those that top_p and min_p can let stay.
Candidates above_threshold(const SampleFilter& filter, const float* logits, uint32_t vocab,
                           const SampleChunk* states, uint64_t* keys, size_t chunks) {
  float max = -std::numeric_limits<float>::infinity();
  for (size_t c = 0; c < chunks; ++c) max = std::max(max, states[c].max);
  double sum = 0;
  for (size_t c = 0; c < chunks; ++c) sum += states[c].sum * weight(states[c].max, max, 1);

  // Tokens whose probability is below (1 - top_p) / vocab have less than 1 - top_p together, so the
  // others reach top_p. The margin is for the rounding of this very estimate.
  double relative = -std::numeric_limits<double>::infinity();
  if (filter.top_p < 1) relative = std::log(sum * (1 - static_cast<double>(filter.top_p)) / vocab);
  if (filter.min_p > 0) relative = std::max(relative, std::log(static_cast<double>(filter.min_p)));
  const double threshold = static_cast<double>(max) + relative - 1e-3;

  size_t count = 0;
  for (uint32_t i = 0; i < vocab; ++i)
    if (static_cast<double>(logits[i]) >= threshold) keys[count++] = order_key(logits[i], i);
  std::sort(keys, keys + count, std::greater<>());
  return {keys, count, sum};
}

// How many of the candidates top_p and min_p let stay: at least one, none of them NaN but the one.
size_t count_kept(const SampleFilter& filter, const Candidates& all) {
  size_t count = all.count;
  while (count > 1 && key_is_nan(all.keys[count - 1])) --count;
  if (filter.top_p < 1) {
    double reached = 0;
    for (size_t i = 0; i < count; ++i) {
      reached += weight(all.value(i), all.value(0), 1) / all.sum;
      if (reached >= static_cast<double>(filter.top_p)) count = i + 1;
    }
  }
  if (filter.min_p > 0) {
    const double lowest = std::log(static_cast<double>(filter.min_p));
    while (count > 1 && below(all.value(count - 1), all.value(0)) < lowest) --count;
  }
  return count;
}

// Where the running sum of weight_of(0), weight_of(1), ... passes `fraction` of its total.
template <class WeightOf>
size_t draw(size_t count, double fraction, const WeightOf& weight_of) {
  double total = 0, sum = 0;
  for (size_t i = 0; i < count; ++i) total += weight_of(i);
  const double target = fraction * total;
  size_t last = 0;  // with any weight, should rounding keep the sum below the target
  for (size_t i = 0; i < count; ++i) {
    const double w = weight_of(i);
    if (w > 0) last = i;
    sum += w;
    if (sum > target) return i;
  }
  return last;
}

// Nothing is cut off: first the chunk, then the token in it, by what is left of the fraction.
uint32_t draw_of_all(const SampleFilter& filter, const float* logits, uint32_t vocab,
                     const SampleChunk* states, size_t chunks, double fraction) {
  float max = -std::numeric_limits<float>::infinity();
  for (size_t c = 0; c < chunks; ++c) max = std::max(max, states[c].max);
  const auto mass = [&](size_t c) {
    return states[c].sum == 0 ? 0 : states[c].sum * weight(states[c].max, max, filter.temp);
  };
  const size_t chunk = draw(chunks, fraction, mass);
  double total = 0, before = 0;
  for (size_t c = 0; c < chunks; ++c) {
    if (c < chunk) before += mass(c);
    total += mass(c);
  }
  if (!(total > 0)) return 0;
  const double rest = std::clamp((fraction * total - before) / mass(chunk), 0.0, 1.0);
  const auto begin = static_cast<uint32_t>(chunk) * kSelectChunk;
  const size_t n = std::min(kSelectChunk, vocab - begin);
  return begin + static_cast<uint32_t>(draw(n, rest, [&](size_t i) {
           return weight(logits[begin + i], states[chunk].max, filter.temp);
         }));
}

uint32_t next_token(const SampleSlots& slots) {
  const SampleFilter filter(slots.params);
  const uint32_t vocab = slots.shape.vocab;
  const SampleWorkspace workspace(vocab);
  uint64_t* keys = workspace.keys(slots.workspace);
  const SampleChunk* states = workspace.chunk_states(slots.workspace);
  const float* logits = workspace.logits(slots.workspace);
  const double fraction = sample_uniform(slots.params.seed, slots.state->step);

  if (filter.keeps_all())
    return draw_of_all(filter, logits, vocab, states, workspace.chunks, fraction);
  Candidates all{};
  if (filter.selects()) {
    all = selected(filter, keys, workspace.chunks);
  } else if (filter.top_k > 0) {
    for (uint32_t i = 0; i < vocab; ++i) keys[i] = order_key(logits[i], i);
    all = best_of(keys, vocab, filter.top_k, filter);
  } else {
    all = above_threshold(filter, logits, vocab, states, keys, workspace.chunks);
    if (all.count == 0) return 0;  // all are NaN
  }
  if (filter.greedy) return key_index(keys[0]);

  const float max = all.value(0);
  const size_t count = count_kept(filter, all);
  // Tokens ascending: the lower half of a key counts them backwards.
  std::sort(keys, keys + count, [](uint64_t a, uint64_t b) { return key_index(a) < key_index(b); });
  return key_index(keys[draw(
      count, fraction, [&](size_t i) { return weight(key_value(keys[i]), max, filter.temp); })]);
}

}  // namespace

void sample_draw(const CpuGroup& group) {
  const SampleSlots slots(group);
  const auto token = static_cast<int32_t>(next_token(slots));
  *group.arg<int32_t>(6) = token;
  SampleState& state = *slots.state;
  slots.history[state.history_length % slots.shape.history_capacity] = token;
  state.history_length += 1;
  state.step += 1;
}

}  // namespace decant::cpu
