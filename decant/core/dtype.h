// Element types of buffers: plain numbers and the block-quantized formats of GGUF files.
#ifndef DECANT_CORE_DTYPE_H_
#define DECANT_CORE_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace decant {

enum class DType : uint8_t {
  kF32,
  kF16,
  kBF16,
  kF64,
  kI8,
  kU8,
  kI16,
  kI32,
  kU32,
  kI64,
  // Block formats: block_elems consecutive elements of a row share scales.
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  // The same blocks with sixteen rows side by side (ops/pack_weights): no row can be cut out, only
  // sixteen from a multiple of sixteen on.
  kQ4_0_X16,
  kQ5_0_X16,
  kQ8_0_X16,
  kQ4_K_X16,
  kQ6_K_X16,
};

struct DTypeInfo {
  std::string_view name;  // lower case: "f32", "q4_k"
  uint32_t block_elems;   // 1 for plain types
  uint32_t block_bytes;   // bytes of one block (of one element for plain types)
};

const DTypeInfo& info(DType dtype);
inline std::string_view to_string(DType dtype) { return info(dtype).name; }
inline bool is_quantized(DType dtype) { return info(dtype).block_elems > 1; }

// Inverse of to_string; throws UnsupportedDtype naming the text.
DType parse_dtype(std::string_view name);

// Bytes that `elements` elements occupy. Throws InvalidArgument if elements is not a whole number
// of blocks or the size overflows.
size_t bytes_of(DType dtype, uint64_t elements);

// a * b, throwing InvalidArgument naming `what` on overflow.
uint64_t checked_mul(uint64_t a, uint64_t b, std::string_view what);

}  // namespace decant

#endif  // DECANT_CORE_DTYPE_H_
