// Bytes: every weight is read and written once. A row is read front to back; what sixteen rows are
// written to, 10 KB for 640 columns of q8_0, stays in the first-level cache meanwhile.
#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/pack_weights/params.h"

namespace decant::cpu {
namespace {

template <class Block, class Packed>
void pack_sixteen(const CpuGroup& group) {
  const size_t blocks = group.params<PackWeightsParams>().blocks, first = group.group.x;
  const Block* from = group.arg<const Block>(1) + first * kX16Rows * blocks;
  Packed* to = group.arg<Packed>(2) + first * blocks;
  for (size_t row = 0; row < kX16Rows; ++row, from += blocks)
    for (size_t i = 0; i < blocks; ++i) pack_x16(from[i], row, to[i]);
}

}  // namespace

#define DECANT_PACK(format, Format)                          \
  void pack_weights_##format(const CpuGroup& group) {        \
    pack_sixteen<Block##Format, Block##Format##_X16>(group); \
  }
DECANT_FOR_EACH_X16_FORMAT(DECANT_PACK)
#undef DECANT_PACK

}  // namespace decant::cpu
