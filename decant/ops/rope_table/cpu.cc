// No SIMD: the vector sines at hand end at angles of 39,000, and this op is run once per token for
// all layers: 128 pairs take some 4 us, a thousandth of a token of the smallest Gemma 3.
#include <algorithm>
#include <cmath>

#include "decant/core/kernel_registry.h"
#include "decant/ops/rope_table/params.h"

namespace decant::cpu {

void rope_table(const CpuGroup& group) {
  const auto& params = group.params<RopeTableParams>();
  const uint64_t position = *group.arg<const uint32_t>(1);
  float* out = group.arg<float>(2);
  const uint32_t group_tokens = rope_table_group_tokens(params.pairs);
  const uint64_t begin = uint64_t{group.group.x} * group_tokens;
  const uint64_t end = std::min<uint64_t>(begin + group_tokens, params.tokens);
  const size_t pairs = params.pairs;
  for (size_t i = 0; i < pairs; ++i) {
    // One power for all tokens of the group.
    const double frequency =
        std::pow(params.base, -static_cast<double>(i) / static_cast<double>(pairs));
    for (uint64_t t = begin; t < end; ++t) {
      const double angle = static_cast<double>(position + t) * params.position_scale * frequency;
      out[t * 2 * pairs + i] = static_cast<float>(std::cos(angle));
      out[t * 2 * pairs + pairs + i] = static_cast<float>(std::sin(angle));
    }
  }
}

}  // namespace decant::cpu
