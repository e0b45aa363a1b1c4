#include "decant/formats/gguf_types.h"

#include <array>

#include "decant/core/error.h"

namespace decant {
namespace {

struct ValueType {
  std::string_view name;
  uint32_t bytes;
};
// In enum order.
constexpr std::array<ValueType, kNumGgufTypes> kValueTypes = {{
    {"u8", 1},
    {"i8", 1},
    {"u16", 2},
    {"i16", 2},
    {"u32", 4},
    {"i32", 4},
    {"f32", 4},
    {"bool", 1},
    {"string", 0},
    {"array", 0},
    {"u64", 8},
    {"i64", 8},
    {"f64", 8},
}};

// Numbers and block sizes: ggml's enum ggml_type, and GGML_QUANT_SIZES of the gguf Python package.
// The gaps are types that ggml has removed.
constexpr auto kNone = std::nullopt;
constexpr std::array<GgufTensorType, 33> kTensorTypes = {{
    {0, "F32", 1, 4, DType::kF32},        {1, "F16", 1, 2, DType::kF16},
    {2, "Q4_0", 32, 18, DType::kQ4_0},    {3, "Q4_1", 32, 20, DType::kQ4_1},
    {6, "Q5_0", 32, 22, DType::kQ5_0},    {7, "Q5_1", 32, 24, DType::kQ5_1},
    {8, "Q8_0", 32, 34, DType::kQ8_0},    {9, "Q8_1", 32, 40, kNone},
    {10, "Q2_K", 256, 84, DType::kQ2_K},  {11, "Q3_K", 256, 110, DType::kQ3_K},
    {12, "Q4_K", 256, 144, DType::kQ4_K}, {13, "Q5_K", 256, 176, DType::kQ5_K},
    {14, "Q6_K", 256, 210, DType::kQ6_K}, {15, "Q8_K", 256, 292, kNone},
    {16, "IQ2_XXS", 256, 66, kNone},      {17, "IQ2_XS", 256, 74, kNone},
    {18, "IQ3_XXS", 256, 98, kNone},      {19, "IQ1_S", 256, 50, kNone},
    {20, "IQ4_NL", 32, 18, kNone},        {21, "IQ3_S", 256, 110, kNone},
    {22, "IQ2_S", 256, 82, kNone},        {23, "IQ4_XS", 256, 136, kNone},
    {24, "I8", 1, 1, DType::kI8},         {25, "I16", 1, 2, DType::kI16},
    {26, "I32", 1, 4, DType::kI32},       {27, "I64", 1, 8, DType::kI64},
    {28, "F64", 1, 8, DType::kF64},       {29, "IQ1_M", 256, 56, kNone},
    {30, "BF16", 1, 2, DType::kBF16},     {34, "TQ1_0", 256, 54, kNone},
    {35, "TQ2_0", 256, 66, kNone},        {39, "MXFP4", 32, 17, kNone},
    {40, "NVFP4", 64, 36, kNone},
}};

}  // namespace

std::string_view to_string(GgufType type) {
  return kValueTypes.at(static_cast<uint32_t>(type)).name;
}

uint32_t fixed_bytes(GgufType type) { return kValueTypes.at(static_cast<uint32_t>(type)).bytes; }

const GgufTensorType* find_tensor_type(uint32_t number) {
  for (const GgufTensorType& type : kTensorTypes)
    if (type.number == number) return &type;
  return nullptr;
}

const GgufTensorType& tensor_type(DType dtype) {
  for (const GgufTensorType& type : kTensorTypes)
    if (type.dtype == dtype) return type;
  fail(ErrorKind::kUnsupportedDtype, "GGUF: no tensor type holds {}", to_string(dtype));
}

}  // namespace decant
