// Rows of weight matrices of any format times one vector. For CUDA kernels; compiled by NVRTC, so
// no standard headers.
//
// A team of threads (a warp, or a block) computes kRows rows at a time. Their bytes are consecutive
// and come to shared memory as they are, 16 bytes a copy whatever the size of a block, and
// asynchronously: before the launch waits for its predecessor, and kStages tiles ahead. There every
// thread takes items of 32 columns of a row (weight_dot.cuh); a row's items are summed by a warp.
// So all threads have work in matrices of a few hundred rows, and a long matrix streams. With one
// stage, a team has one tile at most, and unpacks its weights to registers before it waits.
#ifndef DECANT_KERNELS_MAT_VEC_CUH_
#define DECANT_KERNELS_MAT_VEC_CUH_

#include "decant/kernels/ptx.cuh"
#include "decant/kernels/vector_in_shared.cuh"
#include "decant/kernels/weight_dot.cuh"

namespace decant {

constexpr uint32_t max_of(uint32_t a, uint32_t b) { return a > b ? a : b; }

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

// So many items of a thread are unpacked ahead at most.
inline constexpr uint32_t kMostAhead = 2;

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

  // Calls act(pass, place, row, item) for this thread's items of the first `count` rows.
  template <typename Do>
  __device__ static void for_items(uint32_t count, uint32_t rank, const Do& act) {
#pragma unroll
    for (uint32_t i = 0; i < kPasses; ++i) {
      const uint32_t at = i * kTeam + rank;
      if (at >= kRows * kItems || at / kItems >= count) break;
      act(i, at, at / kItems, at % kItems);
    }
  }
  // Where row `first` begins.
  __device__ static const uint8_t* row_in(const uint8_t* shared, const WeightMatrix& w,
                                          uint32_t first) {
    return shared + ((reinterpret_cast<uint64_t>(w.data) + uint64_t{first} * kRow) & 15);
  }
  __device__ static const uint8_t* block_of(const uint8_t* row, uint32_t item) {
    return row + item / kBlockItems * format_block_bytes(kFormat);
  }
  static constexpr uint32_t kBlockItems = max_of(format_block_elems(kFormat) / 32, 1);

  // parts[row * kItems + item] := products; rows past the last one are skipped. x(pass, item) are
  // an item's activations.
  template <typename Vector, typename Integers>
  __device__ static void multiply(const uint8_t* shared, const WeightMatrix& w, uint32_t first,
                                  uint32_t rank, const Vector& x, const Integers& integers,
                                  float* parts) {
    const uint8_t* rows = row_in(shared, w, first);
    for_items(w.rows - first, rank, [&](uint32_t i, uint32_t at, uint32_t row, uint32_t item) {
      const uint8_t* from = rows + row * kRow;
      if constexpr (is_block_format(kFormat)) {
        parts[at] = dot_block<kFormat>(block_of(from, item), item % kBlockItems, integers(i, item));
      } else {
        constexpr uint32_t kElem = format_block_bytes(kFormat);
        parts[at] =
            dot_plain<kFormat>(from + item * 32 * kElem, kCols % 32 == 0 ? 32 : kCols - item * 32,
                               x.floats + item, kItems);
      }
    });
  }
  // The same for a block format in two steps, of which the first needs no activations.
  __device__ static void unpack(const uint8_t* shared, const WeightMatrix& w, uint32_t first,
                                uint32_t rank, Weights32 (&weights)[kPasses]) {
    const uint8_t* rows = row_in(shared, w, first);
    for_items(w.rows - first, rank, [&](uint32_t i, uint32_t, uint32_t row, uint32_t item) {
      weights[i] =
          WeightBlock<kFormat>::unpack(block_of(rows + row * kRow, item), item % kBlockItems);
    });
  }
  template <typename Vector>
  __device__ static void multiply(const Weights32 (&weights)[kPasses], const WeightMatrix& w,
                                  uint32_t first, uint32_t rank, const Vector& x, float* parts) {
    for_items(w.rows - first, rank, [&](uint32_t i, uint32_t at, uint32_t, uint32_t item) {
      parts[at] = dot_weights<kFormat>(weights[i], x.integers(item));
    });
  }

  // So many neighbouring lanes sum a row's parts.
  static constexpr uint32_t kSumLanes = kTeam == 32 && 32 % kRows == 0 ? 32 / kRows
                                        : kItems <= 32                 ? 8
                                                                       : 16;
  static constexpr uint32_t kSumRows = kTeam / kSumLanes;  // at once

  // values[m] := the sum of that row of parts m. All at once, since every step waits for the one
  // before.
  template <uint32_t kCount>
  __device__ static void sum(const float* const (&parts)[kCount], uint32_t row, uint32_t rank,
                             float (&values)[kCount]) {
    const uint32_t lane = rank % kSumLanes;
#pragma unroll
    for (uint32_t m = 0; m < kCount; ++m) {
      values[m] = 0;
#pragma unroll
      for (uint32_t i = 0; i < ceil_div(kItems, kSumLanes); ++i)
        if (kItems % kSumLanes == 0 || i * kSumLanes + lane < kItems)
          values[m] += parts[m][row * kItems + i * kSumLanes + lane];
    }
#pragma unroll
    for (uint32_t mask = 1; mask < kSumLanes; mask *= 2)
#pragma unroll
      for (uint32_t m = 0; m < kCount; ++m) values[m] += __shfl_xor_sync(~0u, values[m], mask);
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

  // A single stage's weights are unpacked, into registers, while the launch has nothing to do but
  // wait; afterwards only products and sums are left. If there are not too many of them.
  static constexpr uint32_t kPasses = Tile<kFormat0>::kPasses;
  static constexpr bool kAhead =
      kStages == 1 && kIntegers && !kFloats && kPasses * (kPaired ? 2 : 1) <= kMostAhead;
  struct Ahead {
    Weights32 weights[kAhead ? (kPaired ? 2 : 1) : 1][kAhead ? kPasses : 1];
  };

  __device__ Vector& x() const { return *reinterpret_cast<Vector*>(shared_); }

  // Starts loading the first tiles; nothing else may be under way.
  __device__ void start() const {
#pragma unroll
    for (uint32_t s = 0; s < kStages; ++s) {
      start_tile(first_ + s * step_, s);
      copy_async_commit();
    }
  }

  // What can be done with the weights alone, by all threads; it waits for them.
  __device__ void prepare(Ahead& ahead) const {
    if constexpr (kAhead) {
      copy_async_wait<0>();
      team_barrier<kTeam, kThreads>();
      if (first_ >= tiles_[2]) return;
      const uint32_t rank = threadIdx.x % kTeam;
      with_matrix(first_, [&]<uint32_t kFormat, uint32_t kMatrix>(uint32_t first) {
        Tile<kFormat>::unpack(stages_, weights_[kMatrix], first, rank, ahead.weights[0]);
        if constexpr (kPaired)
          Tile<kFormat1>::unpack(stages_ + kSecond, weights_[1], first, rank, ahead.weights[1]);
      });
    }
  }

  // x() must be complete, and prepare() done. emit(matrix, row, value) or, paired, emit(row,
  // value0, value1), from one thread.
  template <typename Emit>
  __device__ void run(const Ahead& ahead, const Emit& emit) const {
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
      const uint8_t* from = stages_ + stage * kStageBytes;
      if constexpr (!kAhead) {
        copy_async_wait<kStages - 1>();
        team_barrier<kTeam, kThreads>();
      }
      with_matrix(tile, [&]<uint32_t kFormat, uint32_t kMatrix>(uint32_t first) {
        if constexpr (kAhead && kPaired) {
          // Both take an item's activations while they are at hand.
          Tile<kFormat>::for_items(
              weights_[0].rows - first, rank,
              [&](uint32_t i, uint32_t at, uint32_t, uint32_t item) {
                const Activations32 a = x().integers(item);
                const float part = dot_weights<kFormat>(ahead.weights[0][i], a);
                parts[kRows * kItems + at] = dot_weights<kFormat1>(ahead.weights[1][i], a);
                parts[at] = part;
              });
          return;
        } else if constexpr (kAhead) {
          Tile<kFormat>::multiply(ahead.weights[0], weights_[kMatrix], first, rank, x(), parts);
          return;
        }
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
          float values[kPaired ? 2 : 1];
          if constexpr (kPaired)
            Tile<kFormat>::sum({parts, parts + kRows * kItems}, some, rank, values);
          else
            Tile<kFormat>::sum({parts}, some, rank, values);
          const bool mine =
              rank % kSumLanes == 0 && row < kRows && first + row < weights_[kMatrix].rows;
          if (mine) {
            if constexpr (kPaired)
              emit(first + row, values[0], values[1]);
            else
              emit(kMatrix, first + row, values[0]);
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
