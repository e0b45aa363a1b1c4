// Attention of a simdgroup's query heads over keys of one KV head, 32 a step: what the ops that
// decode a token share.
//
// Scores: eight lanes share a key, four keys at a time, so that a load of half4 by 32 lanes reads
// four stretches of 64 bytes, and three exchanges between lanes finish eight dot products a lane.
// Values: a lane owns D / 32 dimensions and adds up all 32 keys for them; nothing is merged across
// lanes. K and V are read once each; per key 4 D bytes are read for 4 D flops and head, so one
// simdgroup is bound by the latency of its loads, and occupancy by the accumulators: D / 32 floats
// a head and 8 partial scores a head.
//
// kHeads query heads of one KV head share every K and V row that is loaded. With one head these are
// the kernels of the base contract.
#ifndef DECANT_KERNELS_METAL_ATTEND_H_
#define DECANT_KERNELS_METAL_ATTEND_H_

#include <metal_stdlib>

#include "decant/kernels/attention.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant {

constant constexpr uint kAttendKeys = kFlashAttnVecBlock;  // of a step

// The running softmax of kHeads query heads, spread over a simdgroup.
template <uint D, uint kHeads>
struct HeadGroup {
  device const half* k;  // of the KV head
  device const half* v;
  uint lane;
  threadgroup float* q;       // [kHeads][D], scaled
  threadgroup float* p;       // [kHeads][32]
  float out[kHeads][D / 32];  // dimensions 4 lane + 128 j to 4 lane + 128 j + 3, or 2 lane + ...
  float sum[kHeads], max[kHeads];

  // Dimensions of a lane come in runs of kRun.
  enum : uint { kRun = D >= 128 ? 4 : 2, kRuns = D / 32 / kRun };
  uint dim(uint run) const { return run * 32 * kRun + lane * kRun; }

  // q has been filled.
  void start() {
    for (uint h = 0; h < kHeads; ++h) {
      for (uint i = 0; i < D / 32; ++i) out[h][i] = 0;
      sum[h] = 0;
      max[h] = kFlashAttnVecNoMax;
    }
    metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup);
  }

  // Attends the slots [begin, begin + count), 1 <= count <= 32.
  void attend(uint begin, uint count) {
    // Lane 8 g + m reads the dimensions 4 m, 4 m + 32, ... of the keys g, g + 4, ...; keys past the
    // end repeat the last one.
    const uint g = lane / 8, m = lane % 8;
    float score[kHeads][8];
    for (uint h = 0; h < kHeads; ++h)
      for (uint j = 0; j < 8; ++j) score[h][j] = 0;
    for (uint i = 0; i < D / 32; ++i) {
      metal::float4 q4[kHeads];
      for (uint h = 0; h < kHeads; ++h)
        q4[h] = reinterpret_cast<threadgroup const metal::float4*>(q + h * D)[i * 8 + m];
      for (uint j = 0; j < 8; ++j) {
        const ulong slot = begin + metal::min(4 * j + g, count - 1);
        const metal::float4 k4 =
            metal::float4(reinterpret_cast<device const metal::half4*>(k + slot * D)[i * 8 + m]);
        for (uint h = 0; h < kHeads; ++h) score[h][j] += metal::dot(q4[h], k4);
      }
    }
    // The lanes of a key add up; lane 8 g + m keeps key 4 m + g.
    metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup);  // the last step's p was read
    for (uint h = 0; h < kHeads; ++h) {
      float mine = 0;
      for (uint j = 0; j < 8; ++j) {
        float s = score[h][j];
        s += metal::simd_shuffle_xor(s, 1);
        s += metal::simd_shuffle_xor(s, 2);
        s += metal::simd_shuffle_xor(s, 4);
        if (j == m) mine = s;
      }
      const uint key = 4 * m + g;
      const bool attended = key < count;
      const float new_max =
          metal::max(max[h], metal::simd_max(attended ? mine : kFlashAttnVecNoMax));
      const float weight = attended ? metal::exp(mine - new_max) : 0.0f;
      const float rescale = metal::exp(max[h] - new_max);
      max[h] = new_max;
      sum[h] = sum[h] * rescale + metal::simd_sum(weight);
      for (uint i = 0; i < D / 32; ++i) out[h][i] *= rescale;
      p[h * kAttendKeys + key] = weight;
    }
    metal::simdgroup_barrier(metal::mem_flags::mem_threadgroup);
    for (uint key = 0; key < count; ++key) {
      device const half* row = v + ulong(begin + key) * D;
      for (uint run = 0; run < kRuns; ++run) {
        const metal::vec<half, kRun> values =
            *reinterpret_cast<device const metal::vec<half, kRun>*>(row + dim(run));
        for (uint h = 0; h < kHeads; ++h)
          for (uint i = 0; i < kRun; ++i)
            out[h][run * kRun + i] =
                metal::fma(p[h * kAttendKeys + key], float(values[i]), out[h][run * kRun + i]);
      }
    }
  }

  // Attends what workgroup w of `workgroups` has of the runs: the blocks w, w + workgroups, ... of
  // 32 slots.
  void attend_blocks(SlotRuns runs, uint w, uint workgroups) {
    const uint step = workgroups * kAttendKeys, w_begin = w * kAttendKeys;
    for (uint r = 0; r < 2; ++r) {
      // This workgroup's first block that can reach into the run.
      const uint skipped = runs.begin[r] > w_begin ? (runs.begin[r] - w_begin) / step : 0;
      for (ulong block = w_begin + ulong(skipped) * step; block < runs.end[r]; block += step) {
        const uint begin = metal::max(uint(block), runs.begin[r]);
        const uint end = uint(metal::min(block + kAttendKeys, ulong(runs.end[r])));
        if (begin < end) attend(begin, end - begin);
      }
    }
  }

  // Finished results of the heads from `first_head` on.
  void store(device float* to, uint first_head) const {
    for (uint h = 0; h < kHeads; ++h) {
      const float factor = sum[h] == 0 ? 0.0f : 1.0f / sum[h];
      for (uint i = 0; i < D / 32; ++i)
        to[ulong(first_head + h) * D + dim(i / kRun) + i % kRun] = out[h][i] * factor;
    }
  }

  // Partial ones of workgroup w, in the layout of tmp.
  void store_partial(device float* tmp, uint first_head, uint num_heads, uint w) const {
    for (uint h = 0; h < kHeads; ++h) {
      const ulong row = first_head + h;
      for (uint i = 0; i < D / 32; ++i)
        tmp[flash_attn_vec_tmp_o(row, dim(i / kRun) + i % kRun, w, D)] = out[h][i];
      if (lane == 0) {
        device float* sm = tmp + flash_attn_vec_tmp_sm(num_heads, row, w, D);
        sm[0] = sum[h];
        sm[1] = max[h];
      }
    }
  }
};

// The attended slots. Lengths that a device wrote are clamped to the cache, whose size the host
// gave: a struct in a buffer may hold anything, and must not make a kernel leave its tensors.
inline SlotRuns attended_slots(device const FlashAttnVecParams& params, uint capacity) {
  const uint live = metal::min(params.kv_seq_len, capacity);
  const uint first = window_start(AttnMask(params.mask_type), params.sliding_window, live);
  return slot_runs(first, live, metal::min(params.ring_start, capacity - 1), capacity);
}

}  // namespace decant

#endif  // DECANT_KERNELS_METAL_ATTEND_H_
