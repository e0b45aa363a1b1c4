// The keys of kernels/select.h in Metal: selecting and sorting them within a threadgroup.
#ifndef DECANT_KERNELS_METAL_SELECT_H_
#define DECANT_KERNELS_METAL_SELECT_H_

#include <metal_stdlib>

#include "decant/kernels/select.h"

namespace decant {

inline ulong order_key(float value, uint index) {
  uint high = 0;
  if (value == value) {
    // +0 for -0, without an addition that a compiler might drop.
    const uint bits = value == 0 ? 0u : as_type<uint>(value);
    high = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  }
  return ulong(high) << 32 | (0xFFFFFFFFu - index);
}

inline uint key_index(ulong key) { return 0xFFFFFFFFu - uint(key); }
inline bool key_is_nan(ulong key) { return key >> 32 == 0; }
inline float key_value(ulong key) {
  const uint high = uint(key >> 32);
  if (high == 0) return as_type<float>(0x7FC00000u);
  return as_type<float>(high & 0x80000000u ? high & 0x7FFFFFFFu : ~high);
}

// Simd operations take at most 32 bits: first the upper halves, then the lower ones of those lanes
// that have the greatest.
inline ulong simd_max_key(ulong key) {
  const uint high = metal::simd_max(uint(key >> 32));
  const uint low = metal::simd_max(uint(key >> 32) == high ? uint(key) : 0u);
  return ulong(high) << 32 | low;
}

// Over a threadgroup of at most 32 simdgroups; every thread calls and gets it. `scratch` has 32
// elements.
inline ulong group_max_key(ulong key, threadgroup ulong* scratch, uint lane, uint simdgroup,
                           uint simdgroups) {
  key = simd_max_key(key);
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  if (lane == 0) scratch[simdgroup] = key;
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  return simd_max_key(lane < simdgroups ? scratch[lane] : 0ul);
}

// Sorts n keys in device memory, greatest first, within one threadgroup: a bitonic network whose
// comparisons all point the same way, so that n need not be a power of two. log2(n)^2 / 2 passes.
// Every thread calls; on return every thread sees the result.
inline void group_sort(device ulong* keys, uint n, uint thread_index, uint threads) {
  uint padded = 1;
  while (padded < n) padded *= 2;
  metal::threadgroup_barrier(metal::mem_flags::mem_device);
  for (uint size = 2; size <= padded; size *= 2)
    for (uint distance = size / 2; distance > 0; distance /= 2) {
      for (uint i = thread_index; i < padded / 2; i += threads) {
        const uint block = i / distance * distance * 2, at = i % distance;
        // The first pass of a merge compares mirrored, so that both halves may be descending.
        const uint low = block + at;
        const uint high = distance == size / 2 ? block + 2 * distance - 1 - at : low + distance;
        if (high < n && keys[low] < keys[high]) {
          const ulong greater = keys[high];
          keys[high] = keys[low];
          keys[low] = greater;
        }
      }
      metal::threadgroup_barrier(metal::mem_flags::mem_device);
    }
}

// Writes the k greatest keys of x[0, n) to `keys`, in any order; index counts from `first`. n is at
// least k. Every thread calls. `counts` has 257 elements.
//
// A byte of the key at a time, most significant first: how often each value occurs among the keys
// that agree with what is known of the k-th greatest tells its next byte. Keys differ in their
// index, so eight passes find it.
inline void group_select(device const float* x, uint n, uint k, uint first, device ulong* keys,
                         threadgroup metal::atomic_uint* counts, uint thread_index, uint threads) {
  ulong known = 0;
  uint wanted = k;  // of those that agree with `known`
  for (int shift = 56; shift >= 0; shift -= 8) {
    for (uint i = thread_index; i < 256; i += threads)
      metal::atomic_store_explicit(&counts[i], 0u, metal::memory_order_relaxed);
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    for (uint i = thread_index; i < n; i += threads) {
      const ulong key = order_key(x[i], first + i);
      // (A shift by 64 is undefined.)
      if (shift == 56 || key >> (shift + 8) == known >> (shift + 8))
        metal::atomic_fetch_add_explicit(&counts[uint(key >> shift) & 255u], 1u,
                                         metal::memory_order_relaxed);
    }
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
    // Every thread finds the byte for itself: 256 reads at most, and nothing to hand over.
    uint byte = 255, above = 0;
    for (;; --byte) {
      const uint count = metal::atomic_load_explicit(&counts[byte], metal::memory_order_relaxed);
      if (above + count >= wanted || byte == 0) break;
      above += count;
    }
    wanted -= above;
    known |= ulong(byte) << shift;
    metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  }
  if (thread_index == 0)
    metal::atomic_store_explicit(&counts[256], 0u, metal::memory_order_relaxed);
  metal::threadgroup_barrier(metal::mem_flags::mem_threadgroup);
  for (uint i = thread_index; i < n; i += threads) {
    const ulong key = order_key(x[i], first + i);
    if (key >= known)
      keys[metal::atomic_fetch_add_explicit(&counts[256], 1u, metal::memory_order_relaxed)] = key;
  }
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_SELECT_H_
