// Rows of weight matrices of any format times one vector. For CUDA kernels; compiled by NVRTC, so
// no standard headers.
//
// A team of threads (a warp, or a block) computes kRows rows at a time. Their bytes are consecutive
// and come to shared memory as they are, 16 bytes a copy whatever the size of a block, and
// asynchronously: before the launch waits for its predecessor, and kStages tiles ahead. There every
// thread takes items of 32 columns of a row (weight_dot.cuh); a row's items are summed by a warp.
// So all threads have work in matrices of a few hundred rows, and a long matrix streams. With one
// stage, a team has one tile at most.
#ifndef DECANT_KERNELS_MAT_VEC_CUH_
#define DECANT_KERNELS_MAT_VEC_CUH_

#include "decant/kernels/ptx.cuh"
#include "decant/kernels/weight_dot.cuh"

namespace decant {

constexpr uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }
constexpr uint32_t max_of(uint32_t a, uint32_t b) { return a > b ? a : b; }

// A vector in shared memory as weight_dot.cuh wants it. Planes of 16 bytes, so that lanes with
// neighbouring items read neighbouring banks.
template <uint32_t kCols, bool kIntegers, bool kFloats>
struct VectorInShared {
  static constexpr uint32_t kItems = ceil_div(kCols, 32);
  static constexpr uint32_t kChunks =
      ceil_div(kCols, 128);  // 128 columns: what a warp puts at once

  uint4 words[kIntegers ? 6 * kItems : 1];  // hi 0 to 15, hi 16 to 31, mid, mid, lo, lo
  float4 scales[kIntegers ? kItems : 1];    // scale, sum, sums
  float4 floats[kFloats ? 8 * kItems : 1];

  // Called by a warp: lane i has columns 128 chunk + 4 i to + 3, zeros beyond the last one.
  __device__ void put(uint32_t chunk, float4 v) {
    const uint32_t lane = threadIdx.x % 32, item = chunk * 4 + lane / 8, quad = lane % 8;
    if constexpr (kFloats) {
      if (item < kItems) floats[quad * kItems + item] = v;
    }
    if constexpr (kIntegers) {
      const QuadOf32 q = quantize_quad(v);
      if (item < kItems) {
        uint32_t* to =
            reinterpret_cast<uint32_t*>(words) + (quad / 4 * kItems + item) * 4 + quad % 4;
        to[0] = q.hi;
        to[8 * kItems] = q.mid;
        to[16 * kItems] = q.lo;
        if (quad == 0) scales[item] = q.scales();
      }
    }
  }

  __device__ Activations32 integers(uint32_t item) const {
    const float4 s = scales[item];
    return {{words[item], words[kItems + item]},
            {words[2 * kItems + item], words[3 * kItems + item]},
            {words[4 * kItems + item], words[5 * kItems + item]},
            s.x,
            s.y,
            {s.z, s.w}};
  }
};

// Columns 4 i to 4 i + 3 of a vector, zeros beyond the last one. Fresh: of another kernel's output.
template <uint32_t kCols, bool kFresh = true>
__device__ inline float4 load_quad(const float* from, uint32_t i) {
  float4 v{0, 0, 0, 0};
  const auto load = [](auto* at) {
    if constexpr (kFresh)
      return load_fresh(at);
    else
      return *at;
  };
  if constexpr (kCols % 4 == 0) {
    if (4 * i < kCols) v = load(reinterpret_cast<const float4*>(from) + i);
  } else {
    if (4 * i < kCols) v.x = load(from + 4 * i);
    if (4 * i + 1 < kCols) v.y = load(from + 4 * i + 1);
    if (4 * i + 2 < kCols) v.z = load(from + 4 * i + 2);
    if (4 * i + 3 < kCols) v.w = load(from + 4 * i + 3);
  }
  return v;
}

struct WeightMatrix {
  const uint8_t* data;
  uint32_t rows;
};

template <uint32_t kFormat, uint32_t kCols>
inline constexpr uint32_t kRowBytes = format_row_bytes(kFormat, kCols);

// Threads of a team: all of the block, or each warp of its own.
template <uint32_t kTeam, uint32_t kThreads>
__device__ inline void team_barrier() {
  static_assert(kTeam == 32 || kTeam == kThreads);
  if constexpr (kTeam == 32)
    __syncwarp();
  else
    __syncthreads();
}

// kRows rows of one matrix in shared memory, and their products.
template <uint32_t kFormat, uint32_t kCols, uint32_t kRows, uint32_t kTeam>
struct RowTile {
  static constexpr uint32_t kRow = kRowBytes<kFormat, kCols>;
  static constexpr uint32_t kBytes = ceil_div(kRows * kRow + 15 + 4, 16) * 16;
  static constexpr uint32_t kItems = ceil_div(kCols, 32);

  // Starts copying rows [first, first + kRows) that exist, from the multiple of 16 below.
  __device__ static void start(uint8_t* shared, const WeightMatrix& w, uint32_t first,
                               uint32_t rank) {
    const uint64_t base = reinterpret_cast<uint64_t>(w.data);
    const uint64_t begin = base + uint64_t{first} * kRow, end = base + uint64_t{w.rows} * kRow;
    const uint64_t last = begin + kRows * kRow < end ? begin + kRows * kRow : end;
    const uint64_t aligned = begin & ~uint64_t{15};
    constexpr uint32_t kTurns = ceil_div(kBytes / 16, kTeam);
    if constexpr (kTeam == 32) {
      // A stream's tiles, but for the matrix's ends, need no look at every copy.
      if (aligned >= base && ((last + 15) & ~uint64_t{15}) <= end) {
        const auto bytes = static_cast<uint32_t>(last - aligned);
        const auto* from = reinterpret_cast<const uint8_t*>(aligned);
#pragma unroll
        for (uint32_t i = 0; i < kTurns; ++i) {
          const uint32_t at = (i * kTeam + rank) * 16;
          if (at < bytes) copy_async_16(shared + at, from + at);
        }
        return;
      }
    }
    // A tile is copied once: straight code would only be more to fetch.
#pragma unroll 1
    for (uint32_t i = 0; i < kTurns; ++i) {
      const uint64_t at = aligned + (i * kTeam + rank) * 16;
      if (at >= last) break;
      copy_async_clipped(shared + (at - aligned), at, base, end);
    }
  }

  static constexpr uint32_t kPasses = ceil_div(kRows * kItems, kTeam);  // items of a thread

  // parts[row * kItems + item] := products; rows past the last one are skipped. x(pass, item) are
  // an item's activations.
  template <typename Vector, typename Integers>
  __device__ static void multiply(const uint8_t* shared, const WeightMatrix& w, uint32_t first,
                                  uint32_t rank, const Vector& x, const Integers& integers,
                                  float* parts) {
    const uint8_t* rows =
        shared + ((reinterpret_cast<uint64_t>(w.data) + uint64_t{first} * kRow) & 15);
    const uint32_t count = w.rows - first;
#pragma unroll
    for (uint32_t i = 0; i < kPasses; ++i) {
      const uint32_t at = i * kTeam + rank;
      const uint32_t row = at / kItems, item = at % kItems;
      if (at >= kRows * kItems || row >= count) break;
      const uint8_t* from = rows + row * kRow;
      if constexpr (is_block_format(kFormat)) {
        constexpr uint32_t kParts = format_block_elems(kFormat) / 32;
        parts[at] = dot_block<kFormat>(from + item / kParts * format_block_bytes(kFormat),
                                       item % kParts, integers(i, item));
      } else {
        constexpr uint32_t kElem = format_block_bytes(kFormat);
        parts[at] =
            dot_plain<kFormat>(from + item * 32 * kElem, kCols % 32 == 0 ? 32 : kCols - item * 32,
                               x.floats + item, kItems);
      }
    }
  }

  // So many neighbouring lanes sum a row's parts.
  static constexpr uint32_t kSumLanes = kTeam == 32 && 32 % kRows == 0 ? 32 / kRows
                                        : kItems <= 32                 ? 8
                                                                       : 16;
  static constexpr uint32_t kSumRows = kTeam / kSumLanes;  // at once

  __device__ static float sum(const float* parts, uint32_t row, uint32_t rank) {
    const uint32_t lane = rank % kSumLanes;
    float sum = 0;
#pragma unroll
    for (uint32_t i = 0; i < ceil_div(kItems, kSumLanes); ++i)
      if (kItems % kSumLanes == 0 || i * kSumLanes + lane < kItems)
        sum += parts[row * kItems + i * kSumLanes + lane];
#pragma unroll
    for (uint32_t mask = 1; mask < kSumLanes; mask *= 2) sum += __shfl_xor_sync(~0u, sum, mask);
    return sum;
  }
};

// Up to three matrices of kCols columns, whose tiles are numbered one matrix after the other; team
// t of all teams of the grid takes tiles t, t + teams, ... With kPaired, a tile is the same rows of
// the first two.
template <uint32_t kCols, uint32_t kFormat0, uint32_t kFormat1, uint32_t kFormat2, bool kPaired,
          uint32_t kThreads, uint32_t kTeam, uint32_t kRows, uint32_t kStages>
class MatVec {
 public:
  static constexpr bool kIntegers =
      is_block_format(kFormat0) || is_block_format(kFormat1) || is_block_format(kFormat2);
  static constexpr bool kFloats =
      kFormat0 < kFormatQ4_0 || kFormat1 < kFormatQ4_0 || kFormat2 < kFormatQ4_0;
  using Vector = VectorInShared<kCols, kIntegers, kFloats>;
  template <uint32_t kFormat>
  using Tile = RowTile<kFormat, kCols, kRows, kTeam>;

  static constexpr uint32_t kItems = Vector::kItems;
  static constexpr uint32_t kTeams = kThreads / kTeam;
  static constexpr uint32_t kSecond = Tile<kFormat0>::kBytes;  // of a pair: its offset in the stage
  static constexpr uint32_t kStageBytes =
      kPaired ? kSecond + Tile<kFormat1>::kBytes
              : max_of(kSecond, max_of(kFormat1 == kFormatNone ? 0 : Tile<kFormat1>::kBytes,
                                       kFormat2 == kFormatNone ? 0 : Tile<kFormat2>::kBytes));
  static constexpr uint32_t kPartBytes = ceil_div((kPaired ? 2 : 1) * kRows * kItems * 4, 16) * 16;
  static constexpr uint32_t kTeamBytes = kStages * kStageBytes + kPartBytes;

  // For launch bounds: leaves registers for a block of another kernel, so that a stream's first
  // tiles are under way while that still runs.
  static constexpr uint32_t kRegisterThreads =
      kTeam == 32 && kFormat0 == kFormatQ8_0 && kFormat1 == kFormatNone ? max_of(kThreads, 384)
                                                                        : kThreads;

  __device__ MatVec(uint8_t* shared, const uint8_t* w0, uint32_t rows0, const uint8_t* w1,
                    uint32_t rows1, const uint8_t* w2, uint32_t rows2)
      : shared_(shared), weights_{{w0, rows0}, {w1, rows1}, {w2, rows2}} {
    stages_ = shared + sizeof(Vector) + threadIdx.x / kTeam * kTeamBytes;
    tiles_[0] = ceil_div(rows0, kRows);
    tiles_[1] = tiles_[0] + (kPaired || kFormat1 == kFormatNone ? 0 : ceil_div(rows1, kRows));
    tiles_[2] = tiles_[1] + (kFormat2 == kFormatNone ? 0 : ceil_div(rows2, kRows));
    // Teams of a block take tiles far apart only if there are many.
    first_ = kTeam == 32 ? threadIdx.x / 32 * gridDim.x + blockIdx.x : blockIdx.x;
    step_ = gridDim.x * kTeams;
  }
  static constexpr uint32_t kSharedBytes = sizeof(Vector) + kTeams * kTeamBytes;

  __device__ Vector& x() const { return *reinterpret_cast<Vector*>(shared_); }

  // Starts loading the first tiles; nothing else may be under way.
  __device__ void start() const {
#pragma unroll
    for (uint32_t s = 0; s < kStages; ++s) {
      start_tile(first_ + s * step_, s);
      copy_async_commit();
    }
  }

  // x() must be complete. emit(matrix, row, value) or, paired, emit(row, value0, value1), from one
  // thread.
  template <typename Emit>
  __device__ void run(const Emit& emit) const {
    const uint32_t rank = threadIdx.x % kTeam;
    float* parts = reinterpret_cast<float*>(stages_ + kStages * kStageBytes);
    // A warp that computes many tiles has the same items in each, so it can keep their activations.
    constexpr bool kKeep = kTeam == 32 && kStages > 1 && kIntegers && kRows * kItems % 32 == 0 &&
                           kRows * kItems <= 160 && !kPaired;
    Activations32 kept[kKeep ? kRows * kItems / 32 : 1];
    if constexpr (kKeep)
#pragma unroll
      for (uint32_t i = 0; i < kRows * kItems / 32; ++i)
        kept[i] = x().integers((i * 32 + rank) % kItems);
    const auto integers = [&](uint32_t pass, uint32_t item) {
      if constexpr (kKeep)
        return kept[pass];
      else
        return x().integers(item);
    };
    uint32_t stage = 0;
    for (uint32_t tile = first_; tile < tiles_[2]; tile += step_) {
      copy_async_wait<kStages - 1>();
      team_barrier<kTeam, kThreads>();
      const uint8_t* from = stages_ + stage * kStageBytes;
      with_matrix(tile, [&]<uint32_t kFormat, uint32_t kMatrix>(uint32_t first) {
        Tile<kFormat>::multiply(from, weights_[kMatrix], first, rank, x(), integers, parts);
        if constexpr (kPaired)
          Tile<kFormat1>::multiply(from + kSecond, weights_[1], first, rank, x(), integers,
                                   parts + kRows * kItems);
      });
      team_barrier<kTeam, kThreads>();
      if constexpr (kStages > 1) {
        start_tile(tile + kStages * step_, stage);
        stage = stage + 1 == kStages ? 0 : stage + 1;
      }
      if constexpr (kStages > 1) copy_async_commit();
      with_matrix(tile, [&]<uint32_t kFormat, uint32_t kMatrix>(uint32_t first) {
        constexpr uint32_t kSumRows = Tile<kFormat>::kSumRows, kSumLanes = Tile<kFormat>::kSumLanes;
#pragma unroll
        for (uint32_t i = 0; i < ceil_div(kRows, kSumRows); ++i) {
          const uint32_t row = i * kSumRows + rank / kSumLanes;
          if (kRows % kSumRows && i * kSumRows + rank / 32 * (32 / kSumLanes) >= kRows) break;
          const uint32_t some = kRows % kSumRows ? min(row, kRows - 1) : row;
          const float value = Tile<kFormat>::sum(parts, some, rank);
          const bool mine =
              rank % kSumLanes == 0 && row < kRows && first + row < weights_[kMatrix].rows;
          if constexpr (kPaired) {
            const float other = Tile<kFormat1>::sum(parts + kRows * kItems, some, rank);
            if (mine) emit(first + row, value, other);
          } else {
            if (mine) emit(kMatrix, first + row, value);
          }
        }
      });
      if constexpr (kStages == 1) break;
    }
  }

 private:
  template <typename Do>
  __device__ void with_matrix(uint32_t tile, const Do& act) const {
    if (kFormat2 != kFormatNone && tile >= tiles_[1]) {
      if constexpr (kFormat2 != kFormatNone)
        act.template operator()<kFormat2, 2>((tile - tiles_[1]) * kRows);
    } else if (kFormat1 != kFormatNone && !kPaired && tile >= tiles_[0]) {
      if constexpr (kFormat1 != kFormatNone)
        act.template operator()<kFormat1, 1>((tile - tiles_[0]) * kRows);
    } else {
      act.template operator()<kFormat0, 0>(tile * kRows);
    }
  }

  __device__ void start_tile(uint32_t tile, uint32_t stage) const {
    if (tile >= tiles_[2]) return;
    uint8_t* to = stages_ + stage * kStageBytes;
    const uint32_t rank = threadIdx.x % kTeam;
    with_matrix(tile, [&]<uint32_t kFormat, uint32_t kMatrix>(uint32_t first) {
      Tile<kFormat>::start(to, weights_[kMatrix], first, rank);
      if constexpr (kPaired) Tile<kFormat1>::start(to + kSecond, weights_[1], first, rank);
    });
  }

  uint8_t* shared_;
  uint8_t* stages_;
  WeightMatrix weights_[3];
  uint32_t tiles_[3];  // of the matrices so far
  uint32_t first_, step_;
};

}  // namespace decant

#endif  // DECANT_KERNELS_MAT_VEC_CUH_
