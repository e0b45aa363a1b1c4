#include "decant/kernels/mat_vec_cuda.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/kernels/block_formats/block_formats.h"

namespace decant::cuda {
namespace {

#define DECANT_SAME(format, Format) \
  static_assert(static_cast<uint32_t>(DType::k##Format) == kFormat##Format);
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_SAME)
#undef DECANT_SAME
#define DECANT_SAME(format, Format) \
  static_assert(sizeof(Block##Format) == format_block_bytes(kFormat##Format));
DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_SAME)
#undef DECANT_SAME

constexpr uint32_t kLargeTile = 48 << 10;  // more bytes for each SM than this are streamed

uint32_t ceil_div(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

// Dynamic shared memory that a block may ask for: what the compute capability allows (CUDA C++
// Programming Guide, "Technical Specifications per Compute Capability"), less what kernels declare.
uint32_t most_shared(const DeviceInfo& device) {
  constexpr uint32_t kDeclared = 4 << 10;
  // The ops' listings of kernels plan for other backends' devices too.
  const bool cuda = device.capability.starts_with("sm_");
  const int capability = cuda ? std::stoi(device.capability.substr(3)) : 90;
  if (capability >= 90 && capability < 120) return 208 << 10;  // of 227: more stages gain nothing
  return ((capability == 80 || capability == 87 ? 163 : 99) << 10) - kDeclared;
}

// MatVec::kStageBytes + kPartBytes and sizeof(Vector).
uint32_t tile_bytes(uint32_t format, uint32_t cols, uint32_t rows) {
  return format == kFormatNone ? 0
                               : ceil_div(rows * format_row_bytes(format, cols) + 15 + 4, 16) * 16;
}
uint32_t stage_bytes(const MatVecProblem& p, uint32_t rows) {
  const auto tile = [&](size_t i) { return tile_bytes(p.formats[i], p.cols, rows); };
  return p.paired ? tile(0) + tile(1) : std::max({tile(0), tile(1), tile(2)});
}
uint32_t part_bytes(const MatVecProblem& p, uint32_t rows) {
  return ceil_div((p.paired ? 2 : 1) * rows * ceil_div(p.cols, 32) * 4, 16) * 16;
}
uint32_t vector_bytes(const MatVecProblem& p) {
  const auto any = [&](auto is) { return std::any_of(p.formats.begin(), p.formats.end(), is); };
  const uint32_t items = ceil_div(p.cols, 32);
  const uint32_t integers = any([](uint32_t f) { return is_block_format(f); }) ? items : 0;
  const uint32_t floats = any([](uint32_t f) { return f < kFormatQ4_0; }) ? items : 0;
  return (integers ? 7 * integers : 2) * 16 + (floats ? 8 * floats : 1) * 16;
}

}  // namespace

void MatVecShape::append_to(std::vector<KernelConstant>& constants) const {
  constants.push_back({"DECANT_THREADS", threads});
  constants.push_back({"DECANT_TEAM", team});
  constants.push_back({"DECANT_ROWS", rows});
  constants.push_back({"DECANT_STAGES", stages});
  constants.push_back({"DECANT_NEXT_EARLY", next_early});
}

std::string MatVecShape::suffix() const {
  return fmt::format("_{}x{}x{}x{}{}", threads, team, rows, stages, next_early ? "_early" : "");
}

MatVecShape mat_vec_shape(const MatVecProblem& p, const DeviceInfo& device) {
  const uint32_t sms = std::max(device.compute_units, 1u), items = ceil_div(p.cols, 32);
  uint32_t rows = 0, row_bytes = 0;
  for (size_t i = 0; i < 3; ++i) {
    if (p.formats[i] == kFormatNone) continue;
    rows += i == 1 && p.paired ? 0 : p.rows[i];
    row_bytes = std::max(row_bytes, format_row_bytes(p.formats[i], p.cols));
  }
  MatVecShape shape{};
  shape.rows = ceil_div(rows, sms);
  const uint32_t most = most_shared(device);
  const bool small =
      uint64_t{shape.rows} * row_bytes * (p.paired ? 2 : 1) <= kLargeTile &&
      vector_bytes(p) + stage_bytes(p, shape.rows) + part_bytes(p, shape.rows) <= most;
  if (small) {
    // One tile for each SM, an item for each thread, and a warp for each 128 columns of the vector.
    // No more threads, so that the blocks of the kernels behind this one have their place beside
    // it.
    const uint32_t warps = std::max(ceil_div(shape.rows * items, 32), ceil_div(p.cols, 128));
    shape.threads = std::clamp(warps * 32, 128u, 512u);
    shape.team = shape.threads;
    shape.stages = 1;
  } else {
    // Every warp streams tiles of up to 8 rows and about 6 KB, as many as shared memory holds.
    shape.rows = 8;
    while (shape.rows > 1 && shape.rows * row_bytes * (p.paired ? 2 : 1) > 8 << 10) shape.rows /= 2;
    shape.team = 32;
    // MatVec::run's kKeep, which costs 28 registers for each 32 items.
    const bool keeps = shape.rows * items % 32 == 0 && shape.rows * items <= 160 && !p.paired;
    shape.threads = keeps ? 256 : 384;
    const auto bytes = [&](uint32_t threads, uint32_t stages) {
      return vector_bytes(p) +
             threads / 32 * (stages * stage_bytes(p, shape.rows) + part_bytes(p, shape.rows));
    };
    while (shape.threads > 32 && bytes(shape.threads, 2) > most)
      shape.threads -= shape.threads > 128 ? 128 : 32;
    require(bytes(shape.threads, 2) <= most,
            "mat-vec: weight: rows of {} columns need {} bytes of shared memory, {} has {}", p.cols,
            bytes(shape.threads, 2), device.capability, most);
    shape.stages = 2;
    while (shape.stages < 4 && bytes(shape.threads, shape.stages + 1) <= most) ++shape.stages;
  }
  uint32_t tiles = 0;
  for (size_t i = 0; i < 3; ++i)
    if (p.formats[i] != kFormatNone && !(i == 1 && p.paired))
      tiles += ceil_div(p.rows[i], shape.rows);
  const uint32_t teams = shape.threads / shape.team;
  shape.launch = {
      .grid = {shape.stages == 1 ? tiles : std::min(sms, ceil_div(tiles, teams))},
      .group = {shape.threads},
      .shared_bytes = vector_bytes(p) + teams * (shape.stages * stage_bytes(p, shape.rows) +
                                                 part_bytes(p, shape.rows)),
      .programmatic = true};
  return shape;
}

}  // namespace decant::cuda
