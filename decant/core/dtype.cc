#include "decant/core/dtype.h"

#include <array>

#include "decant/core/error.h"

namespace decant {
namespace {

// Block sizes: ggml's GGUF specification. In enum order.
constexpr std::array<DTypeInfo, 25> kInfos = {{
    {"f32", 1, 4},          {"f16", 1, 2},        {"bf16", 1, 2},       {"f64", 1, 8},
    {"i8", 1, 1},           {"u8", 1, 1},         {"i16", 1, 2},        {"i32", 1, 4},
    {"u32", 1, 4},          {"i64", 1, 8},        {"q4_0", 32, 18},     {"q4_1", 32, 20},
    {"q5_0", 32, 22},       {"q5_1", 32, 24},     {"q8_0", 32, 34},     {"q2_k", 256, 84},
    {"q3_k", 256, 110},     {"q4_k", 256, 144},   {"q5_k", 256, 176},   {"q6_k", 256, 210},
    {"q4_0_x16", 32, 18},   {"q5_0_x16", 32, 22}, {"q8_0_x16", 32, 34}, {"q4_k_x16", 256, 148},
    {"q6_k_x16", 256, 210},
}};
static_assert(static_cast<size_t>(DType::kQ6_K_X16) + 1 == kInfos.size());

}  // namespace

const DTypeInfo& info(DType dtype) { return kInfos.at(static_cast<size_t>(dtype)); }

DType parse_dtype(std::string_view name) {
  for (size_t i = 0; i < kInfos.size(); ++i)
    if (kInfos[i].name == name) return static_cast<DType>(i);
  fail(ErrorKind::kUnsupportedDtype, "dtype '{}' is not known", name);
}

uint64_t checked_mul(uint64_t a, uint64_t b, std::string_view what) {
  uint64_t product = 0;
  require(!__builtin_mul_overflow(a, b, &product), "{}: {} * {} overflows 64 bits", what, a, b);
  return product;
}

size_t bytes_of(DType dtype, uint64_t elements) {
  const DTypeInfo& i = info(dtype);
  require(elements % i.block_elems == 0,
          "{}: {} elements are not a whole number of {}-element blocks", i.name, elements,
          i.block_elems);
  return checked_mul(elements / i.block_elems, i.block_bytes, i.name);
}

}  // namespace decant
