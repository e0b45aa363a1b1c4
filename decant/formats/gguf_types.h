// The two type numberings of GGUF files: of metadata values and of tensors.
#ifndef DECANT_FORMATS_GGUF_TYPES_H_
#define DECANT_FORMATS_GGUF_TYPES_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "decant/core/dtype.h"

namespace decant {

// Metadata value types, numbered as in the file.
enum class GgufType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};
inline constexpr uint32_t kNumGgufTypes = 13;

std::string_view to_string(GgufType type);  // "u8", "bool", "string", "array", ...
// Bytes of a value; 0 for strings and arrays, whose size is in the file.
uint32_t fixed_bytes(GgufType type);

// A tensor type that is known by name. Those without a dtype can be listed, not computed with.
struct GgufTensorType {
  uint32_t number;
  std::string_view name;  // "Q4_K", as ggml calls it
  uint32_t block_elems;
  uint32_t block_bytes;
  std::optional<DType> dtype;
};

const GgufTensorType* find_tensor_type(uint32_t number);  // null if not known
const GgufTensorType& tensor_type(DType dtype);           // throws UnsupportedDtype (u8, u32)

}  // namespace decant

#endif  // DECANT_FORMATS_GGUF_TYPES_H_
