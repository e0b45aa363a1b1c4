#include "decant/kernels/philox.h"
#include "decant/kernels/ptx.cuh"
#include "decant/kernels/rows.cuh"
#include "decant/kernels/select.cuh"
#include "decant/ops/sample/params.h"

namespace decant {

// --- First kernel: every chunk of the logits, a block each.

// Sum of exp((x - max) / temp), in double. NaN counts nothing.
__device__ double sum_exp(const float* x, uint32_t n, float max, float temp) {
  const bool infinite = max - max != 0;  // only what equals it has weight
  // Finite, so that 0 stays 0 for the smallest temperatures.
  const float scale = std::min(1 / temp, 1e30f);
  double sum = 0;
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
    if (infinite) {
      sum += x[i] == max;
      continue;
    }
    const float v = (x[i] - max) * scale;
    if (v > -87.0f) sum += static_cast<double>(expf(v));
  }
  return block_total(sum);
}

extern "C" __global__ void __launch_bounds__(kSampleThreads)
    sample_chunk(const SampleParams value, const SampleParams* in_buffer, const SampleShape shape,
                 const float* logits, const int32_t* history, const SampleState* state,
                 uint8_t* base) {
  static_assert(kSampleSelectMax <= kSelectMaxK && kSampleThreads == kSelectThreads);
  extern __shared__ float penalised[];  // a chunk
  __shared__ uint64_t room[kSelectRoom];
  const SampleParams params = in_buffer ? *in_buffer : value;
  const SampleFilter filter(params);
  const SampleWorkspace workspace(shape.vocab);
  const uint32_t begin = blockIdx.x * kSelectChunk;
  const uint32_t n = std::min(kSelectChunk, shape.vocab - begin);
  const float* x = logits + begin;
  wait_for_previous();
  let_next_start();

  if (!filter.selects() || filter.penalty != 1) {
    float* changed = filter.selects() ? penalised : workspace.logits(base) + begin;
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) changed[i] = x[i];
    x = changed;
    __syncthreads();
    // Computed from the original logit each time, so a token that occurs twice is penalised once.
    const uint64_t length = state->history_length;
    const uint64_t last_n =
        filter.penalty == 1
            ? 0
            : std::min(length, std::min<uint64_t>(params.repeat_last_n, shape.history_capacity));
    for (uint64_t i = length - last_n + threadIdx.x; i < length; i += blockDim.x) {
      const auto token = static_cast<uint32_t>(history[i % shape.history_capacity]);
      if (token < begin || token - begin >= n) continue;
      const float logit = logits[token];
      changed[token - begin] = logit > 0 ? logit / filter.penalty : logit * filter.penalty;
    }
    __syncthreads();
  }

  if (filter.selects()) {
    uint64_t* keys = workspace.keys(base) + uint64_t{blockIdx.x} * filter.top_k;
    if (filter.top_k == 1) {
      const uint64_t best = select_best(x, n, begin);
      if (threadIdx.x == 0) keys[0] = best;
      return;
    }
    const uint32_t count = select_top_k(n, filter.top_k, room, kSelectRoom, [&](uint64_t i) {
      return order_key(x[i], begin + static_cast<uint32_t>(i));
    });
    for (uint32_t i = threadIdx.x; i < filter.top_k; i += blockDim.x)
      keys[i] = i < count ? room[i] : 0;
    return;
  }
  // No number at all: -inf, as the key of a NaN has no value.
  const uint64_t best = select_best(x, n, begin);
  const float max = key_is_nan(best) ? -INFINITY : key_value(best);
  double sum = 0;
  if (filter.top_k == 0 && (filter.top_p < 1 || filter.keeps_all()))
    sum = sum_exp(x, n, max, filter.keeps_all() ? filter.temp : 1.0f);
  if (threadIdx.x == 0)
    workspace.chunk_states(base)[blockIdx.x] = {.sum = sum, .max = max, .unused = 0};
}

// --- Second kernel: one block reduces what the chunks hand on to the tokens that stay, and draws.
// Everything here is double precision in a fixed order.

// value - max, where equal infinities are equal.
__device__ double below(float value, float max) {
  return value == max ? 0 : static_cast<double>(value) - static_cast<double>(max);
}

// exp((value - max) / temp); a NaN has no weight.
__device__ double weight(float value, float max, float temp) {
  const double exponent = below(value, max) / static_cast<double>(temp);
  return exponent > -745 ? exp(exponent) : 0;  // where exp underflows to 0
}

struct Drawn {
  uint32_t index;
  double before;  // the sum of the weights before it
  double total;
};

struct FindSumMemory {
  double sums[kSampleThreads];
  uint32_t first, last;
  double before_first;
};
// One for all uses.
__device__ FindSumMemory& find_sum_memory() {
  __shared__ FindSumMemory memory;
  return memory;
}

// Where the running sum of weight_of(0), weight_of(1), ... passes (or, if `reaches`, first equals)
// fraction_of(total). If it never does, the last with any weight. A thread walks through
// neighbours.
template <typename FractionOf, typename WeightOf>
__device__ Drawn find_sum(uint32_t count, bool reaches, const FractionOf& target_of,
                          const WeightOf& weight_of) {
  auto& [sums, first, last, before_first] = find_sum_memory();
  const uint32_t each = (count + kSampleThreads - 1) / kSampleThreads;
  const uint32_t begin = std::min(count, threadIdx.x * each);
  const uint32_t end = std::min(count, begin + each);
  double own = 0;
  for (uint32_t i = begin; i < end; ++i) own += weight_of(i);
  __syncthreads();
  sums[threadIdx.x] = own;
  if (threadIdx.x == 0) {
    first = UINT32_MAX;
    last = 0;
    before_first = 0;
  }
  // Inclusive sums, in a fixed order.
  for (uint32_t step = 1; step < kSampleThreads; step *= 2) {
    __syncthreads();
    const double other = threadIdx.x >= step ? sums[threadIdx.x - step] : 0;
    __syncthreads();
    sums[threadIdx.x] += other;
  }
  __syncthreads();
  const double total = sums[kSampleThreads - 1];
  const double target = target_of(total);
  double sum = threadIdx.x > 0 ? sums[threadIdx.x - 1] : 0;
  uint32_t found = UINT32_MAX;
  double before = 0;
  for (uint32_t i = begin; i < end; ++i) {
    const double w = weight_of(i);
    if (w > 0) atomicMax(&last, i);
    if (found == UINT32_MAX && (sum + w > target || (reaches && sum + w >= target))) {
      found = i;
      before = sum;
    }
    sum += w;
  }
  if (found != UINT32_MAX) atomicMin(&first, found);
  __syncthreads();
  if (found != UINT32_MAX && first == found) before_first = before;
  __syncthreads();
  const Drawn drawn{first != UINT32_MAX ? first : last, before_first, total};
  __syncthreads();
  return drawn;
}

template <typename WeightOf>
__device__ Drawn draw(uint32_t count, double fraction, const WeightOf& weight_of) {
  return find_sum(
      count, false, [&](double total) { return fraction * total; }, weight_of);
}

__device__ float max_of(const SampleChunk* states, uint32_t chunks) {
  uint64_t best = 0;
  for (uint32_t c = threadIdx.x; c < chunks; c += blockDim.x)
    best = std::max(best, order_key(states[c].max, c));
  return key_value(block_max(best));
}

// Nothing is cut off: first the chunk, then the token in it, by what is left of the fraction.
__device__ uint32_t draw_of_all(const SampleFilter& filter, const float* logits, uint32_t vocab,
                                const SampleChunk* states, uint32_t chunks, double fraction) {
  const float max = max_of(states, chunks);
  const auto mass = [&](uint32_t c) {
    return states[c].sum == 0 ? 0 : states[c].sum * weight(states[c].max, max, filter.temp);
  };
  const Drawn chunk = draw(chunks, fraction, mass);
  if (!(chunk.total > 0)) return 0;
  const double rest =
      std::min(std::max((fraction * chunk.total - chunk.before) / mass(chunk.index), 0.0), 1.0);
  const uint32_t begin = chunk.index * kSelectChunk;
  return begin + draw(std::min(kSelectChunk, vocab - begin), rest, [&](uint32_t i) {
                   return weight(logits[begin + i], states[chunk.index].max, filter.temp);
                 }).index;
}

// The candidates in descending order, and the sum of exp(logit - max) over those that top_p counts.
struct Candidates {
  uint64_t* keys;
  uint32_t count;
  double sum;  // only if top_p < 1

  __device__ float value(uint32_t i) const { return key_value(keys[i]); }
};

// Of all logits, those that top_p and min_p can let stay.
__device__ Candidates above_threshold(const SampleFilter& filter, const float* logits,
                                      uint32_t vocab, const SampleChunk* states, uint64_t* keys,
                                      uint32_t chunks) {
  __shared__ uint32_t count;
  const float max = max_of(states, chunks);
  double sum = 0;
  for (uint32_t c = threadIdx.x; c < chunks; c += blockDim.x)
    sum += states[c].sum * weight(states[c].max, max, 1);
  sum = block_total(sum);
  // Tokens whose probability is below (1 - top_p) / vocab have less than 1 - top_p together, so the
  // others reach top_p. The margin is for the rounding of this very estimate.
  double relative = -static_cast<double>(INFINITY);
  if (filter.top_p < 1) relative = log(sum * (1 - static_cast<double>(filter.top_p)) / vocab);
  if (filter.min_p > 0) relative = std::max(relative, log(static_cast<double>(filter.min_p)));
  const double threshold = static_cast<double>(max) + relative - 1e-3;
  if (threadIdx.x == 0) count = 0;
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < vocab; i += blockDim.x)
    if (static_cast<double>(logits[i]) >= threshold)
      append_key(order_key(logits[i], i), keys, &count);
  __syncthreads();
  const uint32_t found = count;
  sort_descending(keys, found);
  return {keys, found, sum};
}

// How many of the candidates top_p and min_p let stay: at least one, none of them NaN but the one.
__device__ uint32_t count_kept(const SampleFilter& filter, const Candidates& all) {
  uint32_t numbers = 0;
  for (uint32_t i = threadIdx.x; i < all.count; i += blockDim.x)
    numbers += !key_is_nan(all.keys[i]);
  uint32_t count = std::max(block_total(numbers), 1u);
  if (filter.top_p < 1) {
    const Drawn reached = find_sum(
        count, true, [&](double) { return static_cast<double>(filter.top_p); },
        [&](uint32_t i) { return weight(all.value(i), all.value(0), 1) / all.sum; });
    if (reached.total >= static_cast<double>(filter.top_p)) count = reached.index + 1;
  }
  if (filter.min_p > 0) {
    const double lowest = log(static_cast<double>(filter.min_p));
    uint32_t above = 0;
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x)
      above += below(all.value(i), all.value(0)) >= lowest;
    count = std::max(block_total(above), 1u);
  }
  return count;
}

__device__ uint32_t next_token(const SampleParams& params, uint32_t vocab, uint64_t step,
                               uint8_t* base) {
  __shared__ uint64_t room[kSelectRoom];
  const SampleFilter filter(params);
  const SampleWorkspace workspace(vocab);
  const auto chunks = static_cast<uint32_t>(workspace.chunks);
  uint64_t* keys = workspace.keys(base);
  const SampleChunk* states = workspace.chunk_states(base);
  const float* logits = workspace.logits(base);
  const double fraction = sample_uniform(params.seed, step);
  if (filter.keeps_all()) return draw_of_all(filter, logits, vocab, states, chunks, fraction);

  Candidates all{};
  if (filter.selects()) {
    // What the chunks have selected; a short chunk has fewer, and 0 is no key.
    const uint64_t n = uint64_t{chunks} * filter.top_k;
    if (filter.greedy) {
      uint64_t best = 0;
      for (uint64_t i = threadIdx.x; i < n; i += blockDim.x) best = std::max(best, keys[i]);
      return key_index(block_max(best));
    }
    all = {room,
           select_top_k(n, filter.top_k, room, kSelectRoom, [&](uint64_t i) { return keys[i]; }),
           0};
    if (all.count == 0) {
      sort_descending(keys, static_cast<uint32_t>(n));
      all = {keys, filter.top_k, 0};
    }
  } else if (filter.top_k > 0) {
    for (uint32_t i = threadIdx.x; i < vocab; i += blockDim.x) keys[i] = order_key(logits[i], i);
    sort_descending(keys, vocab);
    all = {keys, std::min(filter.top_k, vocab), 0};
  } else {
    all = above_threshold(filter, logits, vocab, states, keys, chunks);
    if (all.count == 0) return 0;  // all are NaN
  }
  if (filter.top_k > 0 && filter.top_p < 1) {
    for (uint32_t i = threadIdx.x; i < all.count; i += blockDim.x)
      all.sum += weight(all.value(i), all.value(0), 1);
    all.sum = block_total(all.sum);
  }
  const float max = all.value(0);
  const uint32_t count = count_kept(filter, all);
  // Tokens ascending: the lower half of a key counts them backwards.
  const auto swap_halves = [&] {
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x)
      all.keys[i] = all.keys[i] << 32 | all.keys[i] >> 32;
  };
  swap_halves();
  sort_descending(all.keys, count);
  swap_halves();
  __syncthreads();
  return key_index(all.keys[draw(count, fraction, [&](uint32_t i) {
                              return weight(all.value(i), max, filter.temp);
                            }).index]);
}

extern "C" __global__ void __launch_bounds__(kSampleThreads)
    sample_draw(const SampleParams value, const SampleParams* in_buffer, const SampleShape shape,
                const float*, int32_t* history, SampleState* state, uint8_t* workspace,
                int32_t* token) {
  const SampleParams params = in_buffer ? *in_buffer : value;
  wait_for_previous();
  let_next_start();
  const uint32_t next = next_token(params, shape.vocab, state->step, workspace);
  __syncthreads();  // all have read the state
  if (threadIdx.x > 0) return;
  *token = static_cast<int32_t>(next);
  history[state->history_length % shape.history_capacity] = static_cast<int32_t>(next);
  state->history_length += 1;
  state->step += 1;
}

}  // namespace decant
