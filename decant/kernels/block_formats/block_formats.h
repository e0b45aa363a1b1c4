// All weight formats: the list of them, and their plain decoding.
#ifndef DECANT_KERNELS_BLOCK_FORMATS_BLOCK_FORMATS_H_
#define DECANT_KERNELS_BLOCK_FORMATS_BLOCK_FORMATS_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "decant/core/dtype.h"
#include "decant/core/error.h"
#include "decant/kernels/block_formats/q2_k.h"
#include "decant/kernels/block_formats/q3_k.h"
#include "decant/kernels/block_formats/q4_0.h"
#include "decant/kernels/block_formats/q4_1.h"
#include "decant/kernels/block_formats/q4_k.h"
#include "decant/kernels/block_formats/q5_0.h"
#include "decant/kernels/block_formats/q5_1.h"
#include "decant/kernels/block_formats/q5_k.h"
#include "decant/kernels/block_formats/q6_k.h"
#include "decant/kernels/block_formats/q8_0.h"

// X(format, Format) for every dtype that weights may have: `format` as in kernel names and
// to_string, `Format` as in DType::kFormat and the classes BlockFormat and WeightsFormat.
#define DECANT_FOR_EACH_BLOCK_FORMAT(X) \
  X(q4_0, Q4_0)                         \
  X(q4_1, Q4_1)                         \
  X(q5_0, Q5_0)                         \
  X(q5_1, Q5_1)                         \
  X(q8_0, Q8_0)                         \
  X(q2_k, Q2_K)                         \
  X(q3_k, Q3_K)                         \
  X(q4_k, Q4_K)                         \
  X(q5_k, Q5_K)                         \
  X(q6_k, Q6_K)
#define DECANT_FOR_EACH_WEIGHT_FORMAT(X) \
  X(f32, F32)                            \
  X(f16, F16)                            \
  X(bf16, BF16)                          \
  DECANT_FOR_EACH_BLOCK_FORMAT(X)

namespace decant {

// The dtypes of the list above, for messages.
inline constexpr char kWeightFormatNames[] =
    "f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k, q3_k, q4_k, q5_k or q6_k";

// Decodes out.size() weights, a whole number of blocks, from `from`, which may have any alignment.
// The plain definition; kernels do the same in vectors. Throws UnsupportedDtype.
inline void decode_weights(DType dtype, const std::byte* from, std::span<float> out) {
  const auto blocks = [&]<class Block>(Block block) {
    const size_t elems = info(dtype).block_elems;
    for (size_t i = 0; i + elems <= out.size(); i += elems, from += sizeof block) {
      std::memcpy(&block, from, sizeof block);
      decode(block, out.data() + i);
    }
  };
  const auto halves = [&](float (*convert)(uint16_t)) {
    for (float& value : out) {
      uint16_t bits;
      std::memcpy(&bits, from, sizeof bits);
      value = convert(bits);
      from += sizeof bits;
    }
  };
  switch (dtype) {
    case DType::kF32:
      if (!out.empty()) std::memcpy(out.data(), from, out.size_bytes());
      return;
    case DType::kF16:
      return halves(f32_from_f16);
    case DType::kBF16:
      return halves(f32_from_bf16);
#define DECANT_DECODE(format, Format) \
  case DType::k##Format:              \
    return blocks(Block##Format{});
      DECANT_FOR_EACH_BLOCK_FORMAT(DECANT_DECODE)
#undef DECANT_DECODE
    default:
      fail(ErrorKind::kUnsupportedDtype, "decode_weights: dtype must be {}, got {}",
           kWeightFormatNames, to_string(dtype));
  }
}

}  // namespace decant

#endif  // DECANT_KERNELS_BLOCK_FORMATS_BLOCK_FORMATS_H_
