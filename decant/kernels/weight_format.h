// The weight formats as kernels see them. Shared by host and device code.
#ifndef DECANT_KERNELS_WEIGHT_FORMAT_H_
#define DECANT_KERNELS_WEIGHT_FORMAT_H_

#include <cstdint>

namespace decant {

// As DType.
enum Format : uint32_t {
  kFormatF32 = 0,
  kFormatF16 = 1,
  kFormatBF16 = 2,
  kFormatQ4_0 = 10,
  kFormatQ4_1 = 11,
  kFormatQ5_0 = 12,
  kFormatQ5_1 = 13,
  kFormatQ8_0 = 14,
  kFormatQ2_K = 15,
  kFormatQ3_K = 16,
  kFormatQ4_K = 17,
  kFormatQ5_K = 18,
  kFormatQ6_K = 19,
  kFormatNone = 255,  // no weight
};

constexpr bool is_block_format(uint32_t format) {
  return format >= kFormatQ4_0 && format != kFormatNone;
}
constexpr uint32_t format_block_elems(uint32_t format) {
  return format < kFormatQ4_0 ? 1 : format <= kFormatQ8_0 ? 32 : 256;
}
constexpr uint32_t format_block_bytes(uint32_t format) {
  switch (format) {
    case kFormatF32:
      return 4;
    case kFormatF16:
    case kFormatBF16:
      return 2;
    case kFormatQ4_0:
      return 18;
    case kFormatQ4_1:
      return 20;
    case kFormatQ5_0:
      return 22;
    case kFormatQ5_1:
      return 24;
    case kFormatQ8_0:
      return 34;
    case kFormatQ2_K:
      return 84;
    case kFormatQ3_K:
      return 110;
    case kFormatQ4_K:
      return 144;
    case kFormatQ5_K:
      return 176;
    case kFormatQ6_K:
      return 210;
    default:
      return 0;
  }
}
// What every block's address is a multiple of if the first one's is; kernels rely on it.
constexpr uint32_t format_align(uint32_t format) {
  const uint32_t bytes = format_block_bytes(format);
  return bytes % 16 == 0 ? 16 : bytes % 4 == 0 ? 4 : 2;
}
constexpr uint32_t format_row_bytes(uint32_t format, uint32_t cols) {
  return cols / format_block_elems(format) * format_block_bytes(format);
}

}  // namespace decant

#endif  // DECANT_KERNELS_WEIGHT_FORMAT_H_
