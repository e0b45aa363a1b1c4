// Shared by host and device code.
#ifndef DECANT_OPS_QK_NORM_ROPE_PARAMS_H_
#define DECANT_OPS_QK_NORM_ROPE_PARAMS_H_

#include <cstddef>
#include <cstdint>

namespace decant {

struct QkNormRopeParams {
  uint32_t rows;  // tokens * num_heads
  uint32_t num_heads;
  uint32_t head_dim;
  float eps;
};
static_assert(sizeof(QkNormRopeParams) == 16 && offsetof(QkNormRopeParams, rows) == 0 &&
              offsetof(QkNormRopeParams, num_heads) == 4 &&
              offsetof(QkNormRopeParams, head_dim) == 8 && offsetof(QkNormRopeParams, eps) == 12);

// Rows (heads of a token) that one group computes: about 4,096 elements, a microsecond.
constexpr uint32_t qk_norm_rope_group_rows(uint32_t head_dim) {
  return head_dim < 4096 ? 4096 / head_dim : 1;
}

}  // namespace decant

#endif  // DECANT_OPS_QK_NORM_ROPE_PARAMS_H_
