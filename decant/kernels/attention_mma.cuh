// The attention of one query token over a stretch of an f16 KV cache by one block of threads, on
// matrix units. For CUDA kernels; compiled by NVRTC, so no standard headers.
//
// A tile is 16 keys. K and V go from memory straight to registers, 16 bytes a load, and are matrix
// operands there without any exchange between lanes, because the order of a dot product's terms
// and the order of rows are free:
//
//   scores   S[key, head] = K Q^T    M = 16 keys, N = 8 heads, K = 16 dims
//            Lane (g, t) = (lane / 4, lane % 4) loads dims 8t..8t+7 of rows g and g + 8: words 0, 1
//            are the row's operands of one product, words 2, 3 of the next, and q is laid out
//            likewise.
//   values   O^T[dim, head] = V^T P^T    M = 16 dims, N = 8 heads, K = 16 keys
//            Lane (g, t) loads dims 8g..8g+7 of rows 4t..4t+3; pairs of rows are interleaved by
//            byte permutations. In product i rows g and g + 8 of M are dims 8g + 2i and 8g + 2i +
//            1, so a lane ends with 8 consecutive dims of a head.
//
// The head dim is cut into strips of 64, a warp each. The warps of a strip's tile form a key group:
// they add their partial scores in shared memory, after which each holds the weights of all keys
// and accumulates its own dims. So no output is merged between the warps of a group. Groups take
// tiles in turn and are merged once, at the end.
//
// q and the weights enter as a sum of two f16 halves, which leaves the products as exact as f32
// accumulation is. With at most 4 heads the halves share the 8 columns of one product; with more
// the product is repeated.
#ifndef DECANT_KERNELS_ATTENTION_MMA_CUH_
#define DECANT_KERNELS_ATTENTION_MMA_CUH_

#include "decant/kernels/attention_query.cuh"
#include "decant/kernels/mma.cuh"
#include "decant/kernels/softmax_sum.cuh"

namespace decant {

inline constexpr uint32_t kTileKeys = 16;

// 16 bytes that are read once. Volatile keeps the loads in the order written.
__device__ inline uint4 load_once(const void* from) {
  uint4 r;
  asm volatile("ld.global.nc.L1::no_allocate.L2::256B.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
               : "l"(from));
  return r;
}

// kHeads: 4, 8 or 16 columns of heads. kGroups key groups a block. kSub tiles at a time in a group:
// 32 kSub bytes of K and V each in flight a lane.
template <uint32_t kDim, uint32_t kHeads, uint32_t kGroups, uint32_t kSub>
class AttentionBlock {
 public:
  static constexpr uint32_t kStrips = kDim / kStripDims;
  static constexpr uint32_t kGroupThreads = kStrips * 32;
  static constexpr uint32_t kThreads = kGroups * kGroupThreads;
  static constexpr uint32_t kStepKeys = kSub * kTileKeys;
  static constexpr uint32_t kRowBytes = kDim * 2;
  using Query = AttentionQuery<kDim, kHeads>;
  static constexpr bool kShared = Query::kShared;
  static constexpr uint32_t kTiles = Query::kTiles, kParts = Query::kParts;
  static constexpr uint32_t kOctets =
      kShared ? 1 : 2 * kTiles;  // 8 dims of a head that a lane ends with

  // Partial scores, twice, so that one barrier a step is enough.
  static constexpr uint32_t kScoreRow =
      kTileKeys + 4;  // keys of a head; padded against bank conflicts
  static constexpr uint32_t kScoreFloats =
      2 * kGroups * kStrips * kSub * (kShared ? 4 : 8 * kTiles) * kScoreRow;
  // Octets of a group's lanes, [group][octet][half][strip][t][g]; padded likewise.
  static constexpr uint32_t kMergeRow = kStrips * 40 + 4;
  static constexpr uint32_t kMergeFloats = kGroups * kOctets * 2 * kMergeRow * 4;
  static constexpr bool kOverlay = (kScoreFloats + kMergeFloats) * 4 > 40 * 1024;
  struct Shared {
    float4 floats[(kOverlay ? (kScoreFloats > kMergeFloats ? kScoreFloats : kMergeFloats)
                            : kScoreFloats + kMergeFloats) /
                  4];
    SoftmaxSum state[kGroups][kShared ? 4 : kHeads];
  };

  __device__ AttentionBlock(Shared& shared)
      : shared_(shared),
        lane_(threadIdx.x % 32),
        g_(lane_ / 4),
        t_(lane_ % 4),
        strip_(threadIdx.x / 32 % kStrips),
        group_(threadIdx.x / kGroupThreads) {
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) max_[tile] = kNoMax;
  }

  // q [heads, kDim], read with load(const float4*).
  template <typename Load>
  __device__ void load_q(const float* q, uint32_t heads, const Load& load) {
    query_.load(q, heads, strip_, load);
  }
  // Between the loads of q and keys and their use.
  __device__ void set_scale(float scale) { query_.split(scale); }

  // Attends the steps first, first + stride, ... below last; the groups take them in turn.
  // slots.at(step, r, slot) gives the slot of row r of a step and whether it is attended; other
  // rows are not read. slots.next(step, stride, last) is the first step from there on with which a
  // turn has something to attend. k and v are one KV head's [.., kDim].
  template <typename Slots>
  __device__ void load_first(const uint16_t* k, const uint16_t* v, const Slots& slots,
                             uint32_t first, uint32_t stride, uint32_t last) {
    k_ = reinterpret_cast<const char*>(k) + strip_ * kStripDims * 2;
    v_ = reinterpret_cast<const char*>(v) + strip_ * kStripDims * 2;
    stride_ = stride;
    last_ = last;
    step_ = slots.next(first, stride, last) + group_ * stride;
    if (step_ < last_) {
      load_k(slots, step_);
      load_v(slots, step_);
    }
  }
  template <typename Slots>
  __device__ void run(const Slots& slots) {
    const uint32_t before = group_ * stride_;  // this group's step in a turn
    for (uint32_t turn = 0; step_ < last_; ++turn) {
      const uint32_t next = slots.next(step_ - before + kGroups * stride_, stride_, last_) + before;
      scores(turn % 2, [&] {
        if (next < last_) load_k(slots, next);
      });
      barrier();
      values(turn, slots, [&] {
        if (next < last_) load_v(slots, next);
      });
      step_ = next;
    }
    // A last turn that has no step for this group. Where groups pass their barriers unequally
    // often, compute-sanitizer takes the block's barriers in finish() for none.
    if (kGroups > 1 && step_ - before < last_) barrier();
  }

  // Merges the key groups and calls emit(head, dim, float4, SoftmaxSum) for every head and every
  // fourth dim, each from one thread.
  template <typename Emit>
  __device__ void finish(const Emit& emit) {
    float4* merge = shared_.floats + (kOverlay ? 0 : kScoreFloats / 4);
    if constexpr (kOverlay) __syncthreads();
    const uint32_t member = strip_ * 40 + t_ * 10 + g_;
#pragma unroll
    for (uint32_t octet = 0; octet < kOctets; ++octet) {
      float o[8];
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        if constexpr (kShared) {
          // Lanes t and t ^ 2 hold the two halves of two heads; each completes one.
          const bool low = t_ < 2;
          const float(&c)[4] = o_[0][i];
          const float ra = __shfl_xor_sync(~0u, low ? c[1] : c[0], 2);
          const float rb = __shfl_xor_sync(~0u, low ? c[3] : c[2], 2);
          o[2 * i] = (low ? c[0] : c[1]) + ra;
          o[2 * i + 1] = (low ? c[2] : c[3]) + rb;
        } else {
          o[2 * i] = o_[octet / 2][i][octet % 2];
          o[2 * i + 1] = o_[octet / 2][i][2 + octet % 2];
        }
      }
      float4* to = merge + (group_ * kOctets + octet) * 2 * kMergeRow + member;
      to[0] = {o[0], o[1], o[2], o[3]};
      to[kMergeRow] = {o[4], o[5], o[6], o[7]};
    }
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
      float sum = sum_[tile];
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      if (t_ == 0 && strip_ == 0 && (!kShared || g_ < 4))
        shared_.state[group_][tile * 8 + g_] = {max_[tile], sum};
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < kOctets * 2 * kGroupThreads; i += kThreads) {
      // 16 lanes in a row have the 64 dims of a head's strip.
      const uint32_t half = i % 2, g = i / 2 % 8, t = i / 16 % 4, strip = i / 64 % kStrips,
                     octet = i / 64 / kStrips;
      const uint32_t head = kShared ? 2 * (t & 1) + (t >> 1) : octet / 2 * 8 + 2 * t + octet % 2;
      const uint32_t dim = strip * kStripDims + g * 8 + half * 4;
      SoftmaxSum all{kNoMax, 0};
#pragma unroll
      for (uint32_t group = 0; group < kGroups; ++group)
        all.max = fmaxf(all.max, shared_.state[group][head].max);
      float4 o{0, 0, 0, 0};
#pragma unroll
      for (uint32_t group = 0; group < kGroups; ++group) {
        const SoftmaxSum part = shared_.state[group][head];
        const float weight = exp2_approx(part.max - all.max);
        const float4 x =
            merge[((group * kOctets + octet) * 2 + half) * kMergeRow + strip * 40 + t * 10 + g];
        all.sum = fmaf(part.sum, weight, all.sum);
        accumulate(o, x, weight);
      }
      emit(head, dim, o, all);
    }
  }

 private:
  // Rows of a step: sub * 16 + row * 8 + g of K, sub * 16 + 4t + row of V. Mostly they are all
  // attended and consecutive, which needs one address.
  template <typename Slots>
  __device__ void load_k(const Slots& slots, uint32_t step) {
    uint32_t slot;
    if (slots.whole(step, slot)) {
      const char* from = k_ + uint64_t{slot + g_} * kRowBytes + t_ * 16;
#pragma unroll
      for (uint32_t row = 0; row < 2 * kSub; ++row)
#pragma unroll
        for (uint32_t part = 0; part < 2; ++part)
          k_tile_[row / 2][row % 2][part] = load_once(from + row * (8 * kRowBytes) + part * 64);
    } else {
#pragma unroll
      for (uint32_t row = 0; row < 2 * kSub; ++row) {
        const bool valid = slots.at(step, row * 8 + g_, slot);
        const char* from = k_ + uint64_t{slot} * kRowBytes + t_ * 16;
#pragma unroll
        for (uint32_t part = 0; part < 2; ++part)
          k_tile_[row / 2][row % 2][part] = valid ? load_once(from + part * 64) : uint4{};
      }
    }
  }
  template <typename Slots>
  __device__ void load_v(const Slots& slots, uint32_t step) {
    uint32_t slot;
    if (slots.whole(step, slot)) {
      const char* from = v_ + uint64_t{slot + 4 * t_} * kRowBytes + g_ * 16;
#pragma unroll
      for (uint32_t row = 0; row < 4 * kSub; ++row)
        v_tile_[row / 4][row % 4] = load_once(from + (row / 4 * kTileKeys + row % 4) * kRowBytes);
    } else {
#pragma unroll
      for (uint32_t row = 0; row < 4 * kSub; ++row) {
        const bool valid = slots.at(step, row / 4 * kTileKeys + 4 * t_ + row % 4, slot);
        v_tile_[row / 4][row % 4] =
            valid ? load_once(v_ + uint64_t{slot} * kRowBytes + g_ * 16) : uint4{};
      }
    }
  }

  __device__ float* score_block(uint32_t parity, uint32_t strip, uint32_t sub, uint32_t tile) {
    return reinterpret_cast<float*>(shared_.floats) +
           ((((parity * kGroups + group_) * kStrips + strip) * kSub + sub) * kTiles + tile) *
               (kShared ? 4 : 8) * kScoreRow;
  }

  // This strip's part of the scores, to shared memory.
  template <typename LoadNext>
  __device__ void scores(uint32_t parity, const LoadNext& load_next) {
    float s[kSub][kTiles][4];
#pragma unroll
    for (uint32_t sub = 0; sub < kSub; ++sub)
#pragma unroll
      for (uint32_t tile = 0; tile < kTiles; ++tile) {
        float a[4] = {0, 0, 0, 0}, b[4] = {0, 0, 0, 0};  // two chains: half the latency
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          const uint4 &r0 = k_tile_[sub][0][i / 2], &r1 = k_tile_[sub][1][i / 2];
          const uint32_t w = i % 2 * 2;
          const auto product = [&](float(&c)[4], uint32_t part) {
            mma(c, word(r0, w), word(r1, w), word(r0, w + 1), word(r1, w + 1),
                query_.word(part, 2 * i), query_.word(part, 2 * i + 1));
          };
          if constexpr (kShared) {
            product(i % 2 ? b : a, 0);
          } else {
            product(a, 2 * tile);
            product(b, 2 * tile + 1);
          }
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) s[sub][tile][i] = (a[i] + b[i]) * query_.back(tile, i % 2);
      }
    load_next();
#pragma unroll
    for (uint32_t sub = 0; sub < kSub; ++sub)
#pragma unroll
      for (uint32_t tile = 0; tile < kTiles; ++tile) {
        const float(&c)[4] = s[sub][tile];
        float* block = score_block(parity, strip_, sub, tile);
        if constexpr (kShared) {
          // Lanes t and t ^ 2 hold the two halves of two heads; each completes one row of keys.
          const bool low = t_ < 2;
          const float ra = __shfl_xor_sync(~0u, low ? c[2] : c[0], 2);
          const float rb = __shfl_xor_sync(~0u, low ? c[3] : c[1], 2);
          float* to = block + (t_ & 1) * 2 * kScoreRow + g_ + (low ? 0 : 8);
          to[0] = (low ? c[0] : c[2]) + ra;
          to[kScoreRow] = (low ? c[1] : c[3]) + rb;
        } else {
          float* to = block + 2 * t_ * kScoreRow + g_;
          to[0] = c[0];
          to[kScoreRow] = c[1];
          to[8] = c[2];
          to[kScoreRow + 8] = c[3];
        }
      }
  }

  // Softmax over the step's keys, then the weighted values.
  template <typename Slots, typename LoadNext>
  __device__ void values(uint32_t turn, const Slots& slots, const LoadNext& load_next) {
    uint32_t p[kSub][kParts][2];
#pragma unroll
    for (uint32_t tile = 0; tile < kTiles; ++tile) {
      float s[kSub][4];
      float largest = max_[tile];
#pragma unroll
      for (uint32_t sub = 0; sub < kSub; ++sub) {
        float4 all{0, 0, 0, 0};
#pragma unroll
        for (uint32_t strip = 0; strip < kStrips; ++strip) {
          const float4 part =
              *reinterpret_cast<const float4*>(score_block(turn % 2, strip, sub, tile) +
                                               (kShared ? g_ % 4 : g_) * kScoreRow + 4 * t_);
          all = {all.x + part.x, all.y + part.y, all.z + part.z, all.w + part.w};
        }
        s[sub][0] = all.x, s[sub][1] = all.y, s[sub][2] = all.z, s[sub][3] = all.w;
      }
      uint32_t slot;
      if (!slots.whole(step_, slot)) {
#pragma unroll
        for (uint32_t i = 0; i < 4 * kSub; ++i)
          if (!slots.at(step_, i / 4 * kTileKeys + 4 * t_ + i % 4, slot))
            s[i / 4][i % 4] = minus_infinity();
      }
#pragma unroll
      for (uint32_t i = 0; i < 4 * kSub; ++i) largest = fmaxf(largest, s[i / 4][i % 4]);
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
      const float rescale = exp2_approx(max_[tile] - largest);
      max_[tile] = largest;
      sum_[tile] *= rescale;
#pragma unroll
      for (uint32_t sub = 0; sub < kSub; ++sub) {
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          s[sub][i] = exp2_approx(s[sub][i] - largest);
          sum_[tile] += s[sub][i];
        }
#pragma unroll
        for (uint32_t i = 0; i < 2; ++i) {
          const uint32_t high = pack_f16(s[sub][2 * i], s[sub][2 * i + 1]);
          const uint32_t low = pack_f16_rest(s[sub][2 * i], s[sub][2 * i + 1], high);
          if constexpr (kShared) {
            p[sub][0][i] = g_ < 4 ? high : low;
          } else {
            p[sub][2 * tile][i] = high;
            p[sub][2 * tile + 1][i] = low;
          }
        }
      }
      if (turn > 0 && __any_sync(~0u, rescale != 1)) {
        const float r0 = __shfl_sync(~0u, rescale, 8 * t_),
                    r1 = __shfl_sync(~0u, rescale, 8 * t_ + 4);
#pragma unroll
        for (uint32_t i = 0; i < 4; ++i) {
          o_[tile][i][0] *= r0;
          o_[tile][i][1] *= r1;
          o_[tile][i][2] *= r0;
          o_[tile][i][3] *= r1;
        }
      }
    }
#pragma unroll
    for (uint32_t sub = 0; sub < kSub; ++sub)
#pragma unroll
      for (uint32_t i = 0; i < 4; ++i) {
        const uint4(&v)[4] = v_tile_[sub];
        const uint32_t a0 = __byte_perm(word(v[0], i), word(v[1], i), 0x5410),
                       a1 = __byte_perm(word(v[0], i), word(v[1], i), 0x7632),
                       a2 = __byte_perm(word(v[2], i), word(v[3], i), 0x5410),
                       a3 = __byte_perm(word(v[2], i), word(v[3], i), 0x7632);
#pragma unroll
        for (uint32_t part = 0; part < kParts; ++part)
          mma(o_[part / 2], i, a0, a1, a2, a3, p[sub][part]);
      }
    load_next();
  }
  __device__ static void mma(float (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                             uint32_t b0, uint32_t b1) {
    decant::mma(c, a0, a1, a2, a3, b0, b1);
  }
  __device__ static void mma(float (&o)[4][4], uint32_t i, uint32_t a0, uint32_t a1, uint32_t a2,
                             uint32_t a3, const uint32_t (&b)[2]) {
    decant::mma(o[i], a0, a1, a2, a3, b[0], b[1]);
  }

  __device__ void barrier() const {
    if constexpr (kStrips == 1)
      __syncwarp();
    else
      asm volatile("bar.sync %0, %1;" ::"r"(1 + group_), "n"(kGroupThreads) : "memory");
  }

  Shared& shared_;
  uint32_t lane_, g_, t_, strip_, group_;
  const char *k_, *v_;
  uint32_t step_, stride_, last_;
  Query query_;
  uint4 k_tile_[kSub][2][2];
  uint4 v_tile_[kSub][4];
  float o_[kTiles][4][4] = {};
  float max_[kTiles];
  float sum_[kTiles] = {};
};

}  // namespace decant

#endif  // DECANT_KERNELS_ATTENTION_MMA_CUH_
