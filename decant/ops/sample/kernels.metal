// Translation of cpu.cc and cpu_draw.cc. Where those add up doubles in a fixed order, these add up
// integers, in units of 2^-bits: exactly, and so in any order. Weights themselves are f32.
#include <metal_stdlib>

#include "decant/kernels/metal/integer.h"
#include "decant/kernels/metal/select.h"
#include "decant/ops/sample/params.h"
#include "decant/kernels/philox.h"

using namespace metal;
using namespace decant;

constant constexpr uint kMaxThreads = kSampleMetalThreads;

// As SampleFilter and SampleWorkspace in params.h.
struct Filter {
  bool greedy;
  float temp;
  uint top_k;
  float top_p, min_p, penalty;

  bool selects() const { return top_k >= 1 && top_k <= kSampleSelectMax; }
  bool keeps_all() const { return top_k == 0 && top_p == 1 && min_p == 0; }
};
static Filter filter_of(device const SampleParams& p) {
  const bool greedy = !(p.temp > 0);
  return {greedy,
          p.temp,
          greedy ? 1 : p.top_k,
          p.top_p < 1 && p.top_p >= 0 ? p.top_p : 1.0f,
          p.min_p > 0 && p.min_p <= 1 ? p.min_p : 0.0f,
          p.repeat_penalty > 0 ? p.repeat_penalty : 1.0f};
}
struct Workspace {
  device SampleChunk* chunks;
  device ulong* keys;
  device float* logits;
  uint num_chunks;
};
static Workspace workspace_of(device uchar* base, uint vocab) {
  const uint chunks = select_chunks(vocab);
  const ulong keys = chunks * sizeof(SampleChunk);
  const ulong logits = keys + 8 * max(ulong(vocab), ulong(chunks) * kSampleSelectMax);
  return {reinterpret_cast<device SampleChunk*>(base), reinterpret_cast<device ulong*>(base + keys),
          reinterpret_cast<device float*>(base + logits), chunks};
}

// exp((value - max) / temp), where equal infinities are equal; a NaN has no weight.
static float weight(float value, float max, float temp) {
  if (value == max) return 1;
  const float exponent = (value - max) / temp;
  return exponent > -87.0f ? exp(exponent) : 0.0f;  // below, exp is no normal f32
}
// So many weights fit 64 bits in units of 2^-bits.
static uint bits_for(uint count) { return min(48u, 30 + clz(count)); }
// Masses of chunks, at most 2^14 each.
static uint chunk_bits_for(uint chunks) { return min(48u, 16 + clz(chunks)); }
static ulong swap_halves(ulong key) { return key >> 32 | key << 32; }
static float power_of_two(int n) { return as_type<float>(uint(127 + n) << 23); }
static ulong in_units(float w, uint bits) { return ulong(w * power_of_two(int(bits))); }

// What is summed up: weights of logits, of keys, and the masses of chunks.
struct LogitWeights {
  device const float* logits;
  float max, temp;
  uint bits;
  ulong at(uint i) const { return in_units(weight(logits[i], max, temp), bits); }
};
struct KeyWeights {
  device const ulong* keys;
  float max, temp;
  uint bits;
  bool swapped;  // the halves of the stored keys
  ulong at(uint i) const {
    const ulong key = swapped ? swap_halves(keys[i]) : keys[i];
    return in_units(weight(key_value(key), max, temp), bits);
  }
};
struct ChunkMasses {
  device const SampleChunk* chunks;
  float max, temp;
  uint bits;
  ulong at(uint c) const {
    const float sum = float(chunks[c].sum) * power_of_two(-int(kSampleFractionBits));
    return in_units(sum * weight(chunks[c].max, max, temp), bits);
  }
};

// What the threads of the one group that draws share.
struct Threads {
  uint index, count;
  threadgroup ulong* partial;      // [kMaxThreads]
  threadgroup atomic_uint* place;  // where group_find found it
};

// Leaves in `partial` what each thread's stretch of the n weights adds up to.
template <class Weights>
static void sum_stretches(Weights weights, uint n, Threads threads) {
  const uint stretch = (n + threads.count - 1) / threads.count;
  const uint begin = min(threads.index * stretch, n), end = min(begin + stretch, n);
  ulong sum = 0;
  for (uint i = begin; i < end; ++i) sum += weights.at(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  threads.partial[threads.index] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
}

template <class Weights>
static ulong group_sum(Weights weights, uint n, Threads threads) {
  sum_stretches(weights, n, threads);
  ulong sum = 0;
  for (uint t = 0; t < threads.count; ++t) sum += threads.partial[t];
  return sum;
}

// Where the running sum of the weights passes `target`; n if it does not.
template <class Weights>
static uint group_find(Weights weights, uint n, ulong target, Threads threads) {
  if (threads.index == 0) atomic_store_explicit(threads.place, n, memory_order_relaxed);
  sum_stretches(weights, n, threads);
  ulong sum = 0;
  for (uint t = 0; t < threads.index; ++t) sum += threads.partial[t];
  if (sum <= target && target < sum + threads.partial[threads.index]) {
    const uint stretch = (n + threads.count - 1) / threads.count;
    uint i = threads.index * stretch;
    for (sum += weights.at(i); sum <= target; sum += weights.at(i)) ++i;
    atomic_store_explicit(threads.place, i, memory_order_relaxed);
  }
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint found = atomic_load_explicit(threads.place, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);  // before the next search begins
  return found;
}

static float group_max(float v, threadgroup float* scratch, uint lane, uint simdgroup,
                       uint simdgroups) {
  v = simd_max(v);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (lane == 0) scratch[simdgroup] = v;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  return simd_max(scratch[lane < simdgroups ? lane : 0]);
}

// One threadgroup: one chunk of the logits.
kernel void sample_chunk_f32(
    device const SampleParams& params [[buffer(0)]], constant SampleShape& shape [[buffer(1)]],
    device const float* logits [[buffer(2)]], device const int* history [[buffer(3)]],
    device const SampleState& state [[buffer(4)]], device uchar* workspace_bytes [[buffer(5)]],
    uint group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]],
    uint threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]],
    uint simdgroups [[simdgroups_per_threadgroup]]) {
  threadgroup atomic_uint counts[257];
  threadgroup ulong key_scratch[32];
  threadgroup float scratch[32];
  threadgroup ulong partial[kMaxThreads];
  const Filter filter = filter_of(params);
  const Workspace workspace = workspace_of(workspace_bytes, shape.vocab);
  const uint begin = group * kSelectChunk;
  const uint n = min(uint(kSelectChunk), shape.vocab - begin);
  device const float* x = logits + begin;

  if (!filter.selects() || filter.penalty != 1) {
    device float* copy = workspace.logits + begin;
    for (uint i = thread_index; i < n; i += threads) copy[i] = x[i];
    threadgroup_barrier(mem_flags::mem_device);
    if (filter.penalty != 1) {
      // Computed from the original logit each time, so a token that occurs twice is penalised once.
      const ulong length = state.history_length;
      const ulong last_n = min(length, ulong(min(params.repeat_last_n, shape.history_capacity)));
      for (ulong i = length - last_n + thread_index; i < length; i += threads) {
        const uint token = uint(history[i % shape.history_capacity]);
        if (token < begin || token - begin >= n) continue;
        const float logit = logits[token];
        const float penalised = logit > 0 ? logit / filter.penalty : logit * filter.penalty;
        atomic_store_explicit(reinterpret_cast<device atomic_uint*>(copy) + (token - begin),
                              as_type<uint>(penalised), memory_order_relaxed);
      }
      threadgroup_barrier(mem_flags::mem_device);
    }
    x = copy;
  }

  if (filter.selects()) {
    device ulong* keys = workspace.keys + ulong(group) * filter.top_k;
    const uint count = min(filter.top_k, n);
    if (filter.top_k == 1) {
      ulong best = 0;
      for (uint i = thread_index; i < n; i += threads) best = max(best, order_key(x[i], begin + i));
      best = group_max_key(best, key_scratch, lane, simdgroup, simdgroups);
      if (thread_index == 0) keys[0] = best;
    } else {
      group_select(x, n, count, begin, keys, counts, thread_index, threads);
    }
    for (uint i = count + thread_index; i < filter.top_k; i += threads) keys[i] = 0;
    return;
  }
  float max = -INFINITY;
  for (uint i = thread_index; i < n; i += threads) max = x[i] > max ? x[i] : max;
  max = group_max(max, scratch, lane, simdgroup, simdgroups);
  ulong sum = 0;
  if (filter.top_k == 0 && (filter.top_p < 1 || filter.keeps_all())) {
    const LogitWeights weights{x, max, filter.keeps_all() ? filter.temp : 1.0f,
                               kSampleFractionBits};
    sum = group_sum(weights, n, Threads{thread_index, threads, partial, nullptr});
  }
  if (thread_index == 0) {
    device SampleChunk& chunk = workspace.chunks[group];
    chunk.sum = sum;
    chunk.max = max;
    chunk.unused = 0;
  }
}

static float greatest(Workspace workspace) {
  float max = -INFINITY;
  for (uint c = 0; c < workspace.num_chunks; ++c)
    if (workspace.chunks[c].max > max) max = workspace.chunks[c].max;
  return max;
}

// A random number of [0, 2^64) whose 11 lowest bits are 0: sample_uniform of philox.h times 2^64.
static ulong uniform_bits(ulong seed, ulong step) {
  Philox4 counter;
  counter.x[0] = uint(step);
  counter.x[1] = uint(step >> 32);
  counter.x[2] = 0;
  counter.x[3] = 0;
  const Philox4 r = philox4x32_10(counter, uint(seed), uint(seed >> 32));
  return (ulong(r.x[0]) << 32 | r.x[1]) >> 11 << 11;
}

// Nothing is cut off: first the chunk, then the token in it, by what is left of the fraction.
static uint draw_of_all(Filter filter, Workspace workspace, uint vocab, ulong fraction,
                        Threads threads) {
  const uint bits = chunk_bits_for(workspace.num_chunks);
  const ChunkMasses masses{workspace.chunks, greatest(workspace), filter.temp, bits};
  const ulong total = group_sum(masses, workspace.num_chunks, threads);
  if (total == 0) return 0;
  const ulong target = multiply_high(total, fraction);
  const uint chunk = group_find(masses, workspace.num_chunks, target, threads);
  ulong before = 0;
  for (uint c = 0; c < chunk; ++c) before += masses.at(c);
  const uint begin = chunk * kSelectChunk, n = min(uint(kSelectChunk), vocab - begin);
  const LogitWeights weights{workspace.logits + begin, workspace.chunks[chunk].max, filter.temp,
                             kSampleFractionBits};
  const ulong sum = workspace.chunks[chunk].sum;
  const float rest = float(target - before) / float(masses.at(chunk));
  return begin + group_find(weights, n, min(ulong(rest * float(sum)), sum - 1), threads);
}

// How many keys of [0, n), which are sorted, come before the first that is below `key`.
static uint count_from(device const ulong* keys, uint n, ulong key) {
  uint low = 0, high = n;
  while (low < high) {
    const uint middle = (low + high) / 2;
    if (keys[middle] >= key)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

// The candidates in descending order, and, in units of 2^-bits, the sum of exp(logit - max) over
// those that top_p counts.
struct Candidates {
  uint count, bits;
  ulong sum;
};

static Candidates best_of(Filter filter, Workspace workspace, uint n, uint vocab, Threads threads) {
  group_sort(workspace.keys, n, threads.index, threads.count);
  // A short chunk has fewer; 0 is no key.
  const uint count = min(count_from(workspace.keys, n, 1), filter.top_k);
  const uint bits = bits_for(vocab);
  const KeyWeights weights{workspace.keys, key_value(workspace.keys[0]), 1, bits, false};
  return {count, bits, filter.top_p < 1 ? group_sum(weights, count, threads) : 0};
}

// Of all logits, those that top_p and min_p can let stay.
static Candidates above_threshold(Filter filter, Workspace workspace, uint vocab, Threads threads) {
  const float max = greatest(workspace);
  const uint bits = chunk_bits_for(workspace.num_chunks);
  const ChunkMasses masses{workspace.chunks, max, 1, bits};
  const ulong sum = group_sum(masses, workspace.num_chunks, threads);

  // Tokens whose probability is below (1 - top_p) / vocab have less than 1 - top_p together, so the
  // others reach top_p. The margin is for the rounding of this very estimate.
  float relative = -INFINITY;
  if (filter.top_p < 1)
    relative = log(float(sum) * power_of_two(-int(bits)) * (1 - filter.top_p) / float(vocab));
  if (filter.min_p > 0) relative = metal::max(relative, log(filter.min_p));
  const float threshold = max + relative - 1e-3f;

  if (threads.index == 0) atomic_store_explicit(threads.place, 0u, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  for (uint i = threads.index; i < vocab; i += threads.count)
    if (workspace.logits[i] >= threshold)
      workspace.keys[atomic_fetch_add_explicit(threads.place, 1u, memory_order_relaxed)] =
          order_key(workspace.logits[i], i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint count = atomic_load_explicit(threads.place, memory_order_relaxed);
  group_sort(workspace.keys, count, threads.index, threads.count);
  return {count, bits, sum};
}

// How many of the candidates top_p and min_p let stay: at least one, none of them NaN but the one.
static uint count_kept(Filter filter, Workspace workspace, Candidates all, Threads threads) {
  device const ulong* keys = workspace.keys;
  const float max = key_value(keys[0]);
  uint count = metal::max(1u, count_from(keys, all.count, 1ul << 32));
  if (filter.top_p < 1) {
    // The fewest whose sum reaches top_p.
    const ulong reached = multiply_high(all.sum, in_units(filter.top_p, 32) << 32);
    const KeyWeights weights{keys, max, 1, all.bits, false};
    const uint last = group_find(weights, count, reached == 0 ? 0 : reached - 1, threads);
    count = min(count, last + 1);
  }
  if (filter.min_p > 0) {
    const float lowest = max - max == 0 ? max + log(filter.min_p) : max;
    count = metal::max(1u, min(count, count_from(keys, count, order_key(lowest, 0x7FFFFFFFu))));
  }
  return count;
}

static uint next_token(Filter filter, Workspace workspace, uint vocab, ulong fraction,
                       Threads threads) {
  if (filter.keeps_all()) return draw_of_all(filter, workspace, vocab, fraction, threads);
  Candidates all;
  if (filter.selects()) {
    all = best_of(filter, workspace, workspace.num_chunks * filter.top_k, vocab, threads);
  } else if (filter.top_k > 0) {
    for (uint i = threads.index; i < vocab; i += threads.count)
      workspace.keys[i] = order_key(workspace.logits[i], i);
    all = best_of(filter, workspace, vocab, vocab, threads);
  } else {
    all = above_threshold(filter, workspace, vocab, threads);
    if (all.count == 0) return 0;  // all are NaN
  }
  device ulong* keys = workspace.keys;
  if (filter.greedy) return key_index(keys[0]);

  const float max = key_value(keys[0]);
  const uint count = count_kept(filter, workspace, all, threads);
  // Tokens ascending: the lower half of a key counts them backwards, so its halves change places.
  threadgroup_barrier(mem_flags::mem_device);
  for (uint i = threads.index; i < count; i += threads.count) keys[i] = swap_halves(keys[i]);
  group_sort(keys, count, threads.index, threads.count);
  const KeyWeights weights{keys, max, filter.temp, bits_for(count), true};
  const ulong target = multiply_high(group_sum(weights, count, threads), fraction);
  const uint drawn = group_find(weights, count, target, threads);
  return key_index(swap_halves(keys[min(drawn, count - 1)]));
}

// One threadgroup of kMaxThreads at most.
kernel void sample_draw(device const SampleParams& params [[buffer(0)]],
                        constant SampleShape& shape [[buffer(1)]],
                        device const float* logits [[buffer(2)]], device int* history [[buffer(3)]],
                        device SampleState& state [[buffer(4)]],
                        device uchar* workspace_bytes [[buffer(5)]],
                        device int& token [[buffer(6)]],
                        uint thread_index [[thread_index_in_threadgroup]],
                        uint threads [[threads_per_threadgroup]]) {
  threadgroup ulong partial[kMaxThreads];
  threadgroup atomic_uint place;
  const Workspace workspace = workspace_of(workspace_bytes, shape.vocab);
  const uint next =
      next_token(filter_of(params), workspace, shape.vocab, uniform_bits(params.seed, state.step),
                 Threads{thread_index, threads, partial, &place});
  threadgroup_barrier(mem_flags::mem_device);  // state was read
  if (thread_index != 0) return;
  token = int(next);
  history[state.history_length % shape.history_capacity] = int(next);
  state.history_length += 1;
  state.step += 1;
}
