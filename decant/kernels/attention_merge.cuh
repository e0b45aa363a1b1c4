// Merging the partial results of the blocks that share a head's keys, inside the launch. For CUDA
// kernels; compiled by NVRTC, so no standard headers.
//
// Every block leaves, for every head, O relative to its own maximum M, and {S, M} (as everywhere:
// M = max of M_i, w_i = exp2(M_i - M), out = sum w_i O_i / sum w_i S_i). An octet is 8 consecutive
// dims of a head. A block owns a stretch of octets: all send it theirs, warps of the owner reduce
// them, in the order of the parts, and write 32 bytes of the output for each. What is sent is O[8]
// for an octet and {M, S} for a head.
//
// ClusterExchange: the blocks are one cluster; records go to the owner's shared memory, and the
// stores themselves count on the barrier that the owner waits for.
// ScratchExchange: records go to global memory, whose zeros mean "not yet": the owner polls. No
// flag, atomic or fence is needed, since a record's own bits say that it has come. The owner sets
// what it has read back to zeros, so the memory is ready for the next launch. All blocks must be
// resident at the same time, which a cooperative launch guarantees.
#ifndef DECANT_KERNELS_ATTENTION_MERGE_CUH_
#define DECANT_KERNELS_ATTENTION_MERGE_CUH_

#include "decant/kernels/softmax_sum.cuh"

namespace decant {

// Records in global memory: O [octet][stride parts][8], then {M, S} [unit][stride parts], a unit
// being the octets of a head that one block owns.
template <uint32_t kOctetsOfHead>
class ScratchExchange {
 public:
  // Of `octets` octets a block owns a power of two, so that units are as large as each other.
  // all_octets, stride: the most octets and parts, which the layout has room for.
  __device__ ScratchExchange(float* scratch, uint32_t all_octets, uint32_t stride, uint32_t octets,
                             uint32_t parts)
      : o_(reinterpret_cast<uint4*>(scratch)),
        state_(reinterpret_cast<uint2*>(scratch + uint64_t{all_octets} * stride * 8)),
        stride_(stride),
        octets_(octets),
        parts_(parts),
        own_(0) {
    while (parts << own_ < octets) ++own_;
    unit_ = min(own_, kLogOctetsOfHead);
  }

  __device__ void send(uint32_t octet, uint32_t part, uint32_t half, float4 o, SoftmaxSum state) {
    asm volatile("st.relaxed.gpu.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(
                     o_ + (octet * stride_ + part) * 2 + half),
                 "r"(encode(o.x)), "r"(encode(o.y)), "r"(encode(o.z)), "r"(encode(o.w))
                 : "memory");
    if (half == 0 && (octet & ((1u << unit_) - 1)) == 0)
      asm volatile("st.relaxed.gpu.global.v2.u32 [%0], {%1, %2};" ::"l"(state_of(octet) + part),
                   "r"(encode(state.max)), "r"(encode(state.sum))
                   : "memory");
  }

  // Merges block `mine`'s octets and writes them, octet o to out + 8 o. A warp takes 16 kAtOnce
  // parts of an octet, lanes 2s and 2s + 1 four dims each of every 16th.
  struct Shared {
    Partial partial[32][2];  // [warp][half]
  };
  __device__ void receive(uint32_t mine, Shared& shared, float* out) {
    const uint32_t warp = threadIdx.x / 32, warps = blockDim.x / 32, lane = threadIdx.x % 32;
    const uint32_t begin = mine << own_, end = min(begin + (1u << own_), octets_);
    if (begin >= end) return;
    const auto store = [&](uint32_t octet, const Partial& p) {
      if (lane < 2)
        reinterpret_cast<float4*>(out + octet * 8)[lane] =
            scaled(p.o, reciprocal_or_zero(p.state.sum));
    };
    if (parts_ <= 16 * kAtOnce) {
      for (uint32_t octet = begin + warp; octet < end; octet += warps) store(octet, take(octet, 0));
      __syncthreads();
    } else {
      const uint32_t tasks = (parts_ + 16 * kAtOnce - 1) / (16 * kAtOnce), at_once = warps / tasks;
      for (uint32_t first = begin; first < end; first += at_once) {
        if (first != begin) __syncthreads();
        const uint32_t octet = first + warp / tasks;
        if (warp < at_once * tasks && octet < end) {
          const Partial p = take(octet, warp % tasks * 16 * kAtOnce);
          if (lane < 2) shared.partial[warp][lane] = p;
        }
        __syncthreads();
        if (warp < at_once && first + warp < end) {
          const uint32_t task = lane / 2;
          store(first + warp,
                reduce_lanes<2>(task < tasks ? shared.partial[warp * tasks + task][lane % 2]
                                             : Partial{{0, 0, 0, 0}, {kNoMax, 0}}));
        }
      }
    }
    // Every warp has read the states.
    for (uint32_t octet = begin; octet < end; octet += 1u << unit_)
      for (uint32_t part = threadIdx.x; part < parts_; part += blockDim.x)
        state_of(octet)[part] = {0, 0};
  }

 private:
  static constexpr uint32_t kAtOnce = 2;
  static constexpr uint32_t kLogOctetsOfHead = kOctetsOfHead == 8 ? 3 : kOctetsOfHead == 16 ? 4 : 5;
  static_assert(1u << kLogOctetsOfHead == kOctetsOfHead);

  __device__ uint2* state_of(uint32_t octet) const { return state_ + (octet >> unit_) * stride_; }

  __device__ Partial take(uint32_t octet, uint32_t first) {
    const uint32_t half = threadIdx.x % 2, part = first + threadIdx.x % 32 / 2;
    uint4* const o = o_ + (octet * stride_ + part) * 2 + half;
    const uint2* const state = state_of(octet) + part;
    uint4 x[kAtOnce] = {};
    uint2 s[kAtOnce] = {};
    const auto load = [&](uint32_t i) {
      asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(x[i].x), "=r"(x[i].y), "=r"(x[i].z), "=r"(x[i].w)
                   : "l"(o + 32 * i)
                   : "memory");
      asm volatile("ld.relaxed.gpu.global.v2.u32 {%0, %1}, [%2];"
                   : "=r"(s[i].x), "=r"(s[i].y)
                   : "l"(state + 16 * i)
                   : "memory");
    };
    // All that is missing is asked for together.
    uint32_t missing = 0;
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i) missing |= (part + 16 * i < parts_) << i;
    const uint32_t wanted = missing;
    do {
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; ++i)
        if (missing >> i & 1) load(i);
#pragma unroll
      for (uint32_t i = 0; i < kAtOnce; ++i)
        if (x[i].x && x[i].y && x[i].z && x[i].w && s[i].x && s[i].y) missing &= ~(1u << i);
    } while (__any_sync(~0u, missing));
    Partial all{{0, 0, 0, 0}, {kNoMax, 0}};
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i)
      if (wanted >> i & 1) {
        o[32 * i] = {0, 0, 0, 0};
        all.state.max = fmaxf(all.state.max, decode(s[i].x));
      }
#pragma unroll
    for (uint32_t i = 0; i < kAtOnce; ++i)
      if (wanted >> i & 1) {
        const float weight = exp2_approx(decode(s[i].x) - all.state.max);
        accumulate(all.o, {decode(x[i].x), decode(x[i].y), decode(x[i].z), decode(x[i].w)}, weight);
        all.state.sum = fmaf(decode(s[i].y), weight, all.state.sum);
      }
    return reduce_lanes<2>(all);
  }

  // Any f32 but one NaN, which becomes another, as a word that is not zero.
  __device__ static uint32_t encode(float x) {
    const uint32_t bits = ~__float_as_uint(x);
    return bits == 0 ? 0x80000000u : bits;
  }
  __device__ static float decode(uint32_t bits) { return __uint_as_float(~bits); }

  uint4* o_;
  uint2* state_;
  uint32_t stride_, octets_, parts_;
  uint32_t own_, unit_;  // octets of a block, and of those the octets of a state, as powers of two
};

#if __CUDA_ARCH__ >= 900

// The blocks of a cluster of kBlocks, for up to kHeads heads of kOctetsOfHead octets. Each owns a
// stretch of octets; a block's records for it lie together, [part][octet][8], the states beside
// them, one for each head that the stretch touches.
template <uint32_t kBlocks, uint32_t kHeads, uint32_t kOctetsOfHead>
class ClusterExchange {
 public:
  struct Shared {
    float o[kHeads * kOctetsOfHead * 8 + kBlocks * 48];
    SoftmaxSum state[(kHeads + 1) * kBlocks];
    uint64_t barrier;
  };

  __device__ explicit ClusterExchange(Shared& shared) : shared_(shared) {}

  // Called by all threads; lets the others know, without waiting, that this block's barrier exists.
  __device__ void expect(uint32_t rank, uint32_t octets, uint32_t parts) {
    parts_ = parts;
    each_ = parts == kBlocks ? (octets + kBlocks - 1) / kBlocks : (octets + parts - 1) / parts;
    inverse_ = __fdividef(1, static_cast<float>(each_));
    row_ = (each_ * 8 + 31) / 32 * 32 + 8;  // a part's records; the rest is against bank conflicts
    first_ = rank * each_;
    count_ = first_ < octets ? min(each_, octets - first_) : 0;
    if (threadIdx.x == 0) {
      const uint32_t heads = head_of(first_ + count_ - 1) - head_of(first_) + 1;
      const uint32_t bytes = count_ ? parts * (count_ * 32 + heads * 8) : 0;
      asm volatile(
          "mbarrier.init.shared::cta.b64 [%0], 1;\n"
          "fence.mbarrier_init.release.cluster;\n"
          "mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%0], %1;" ::"r"(
              address(&shared_.barrier)),
          "r"(bytes)
          : "memory");
    }
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
  }
  __device__ void wait_for_peers() const {
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
  }

  __device__ void send(uint32_t octet, uint32_t part, uint32_t half, float4 o, SoftmaxSum state) {
    // Exact: octets are few, and the half keeps away from whole numbers.
    const auto owner = static_cast<uint32_t>((static_cast<float>(octet) + 0.5f) * inverse_);
    const uint32_t first = owner * each_;
    const uint32_t barrier = remote(&shared_.barrier, owner);
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, "
        "[%5];" ::"r"(remote(&shared_.o[part * row_ + (octet - first) * 8 + half * 4], owner)),
        "f"(o.x), "f"(o.y), "f"(o.z), "f"(o.w), "r"(barrier)
        : "memory");
    if (half == 0 && (octet == first || octet % kOctetsOfHead == 0))
      asm volatile(
          "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, "
          "[%3];" ::"r"(
              remote(&shared_.state[(head_of(octet) - head_of(first)) * kBlocks + part], owner)),
          "f"(state.max), "f"(state.sum), "r"(barrier)
          : "memory");
  }

  // Merges this block's octets and writes them, octet o to out + 8 o. A warp takes an octet: lane
  // dim + 8 p the parts p, p + 4, ...
  __device__ void receive(float* out) {
    const uint32_t dim = threadIdx.x % 8, p = threadIdx.x % 32 / 8;
    if (threadIdx.x / 32 >= count_) return;
    uint32_t done = 0;
    while (!done)
      asm volatile(
          "{\n .reg .pred p;\n"
          " mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], 0;\n"
          " selp.u32 %0, 1, 0, p;\n}"
          : "=r"(done)
          : "r"(address(&shared_.barrier))
          : "memory");
    for (uint32_t i = threadIdx.x / 32; i < count_; i += blockDim.x / 32) {
      const uint32_t head = head_of(first_ + i) - head_of(first_);
      SoftmaxSum part[kBlocks / 4];
      float o[kBlocks / 4], largest = kNoMax, all = 0, sum = 0;
#pragma unroll
      for (uint32_t j = 0; j < kBlocks / 4; ++j) {
        const bool valid = p + 4 * j < parts_;
        part[j] = valid ? shared_.state[head * kBlocks + p + 4 * j] : SoftmaxSum{kNoMax, 0};
        o[j] = valid ? shared_.o[(p + 4 * j) * row_ + i * 8 + dim] : 0;
        largest = fmaxf(largest, part[j].max);
      }
#pragma unroll
      for (uint32_t mask = 8; mask < 32; mask *= 2)
        largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, mask));
#pragma unroll
      for (uint32_t j = 0; j < kBlocks / 4; ++j) {
        const float weight = exp2_approx(part[j].max - largest);
        all = fmaf(o[j], weight, all);
        sum = fmaf(part[j].sum, weight, sum);
      }
#pragma unroll
      for (uint32_t mask = 8; mask < 32; mask *= 2) {
        all += __shfl_xor_sync(~0u, all, mask);
        sum += __shfl_xor_sync(~0u, sum, mask);
      }
      if (p == 0) out[(first_ + i) * 8 + dim] = all * reciprocal_or_zero(sum);
    }
  }

 private:
  __device__ static uint32_t head_of(uint32_t octet) { return octet / kOctetsOfHead; }
  __device__ static uint32_t address(const void* shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  }
  __device__ static uint32_t remote(const void* shared, uint32_t rank) {
    uint32_t r;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(address(shared)), "r"(rank));
    return r;
  }

  Shared& shared_;
  uint32_t parts_, each_, row_, first_, count_;
  float inverse_;
};

#endif  // __CUDA_ARCH__ >= 900

}  // namespace decant

#endif  // DECANT_KERNELS_ATTENTION_MERGE_CUH_
