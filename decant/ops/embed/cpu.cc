#include <algorithm>
#include <limits>

#include "decant/core/dtype.h"
#include "decant/core/kernel_registry.h"
#include "decant/kernels/block_formats/block_formats.h"
#include "decant/ops/embed/params.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "decant/ops/embed/cpu.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "decant/kernels/block_formats/weights-inl.h"

HWY_BEFORE_NAMESPACE();
namespace decant::cpu::HWY_NAMESPACE {
using namespace decant::HWY_NAMESPACE;

HWY_INLINE void scale_in_place(float* HWY_RESTRICT values, size_t count, float scale) {
  const hn::ScalableTag<float> d;
  size_t i = 0;
  for (; i + hn::Lanes(d) <= count; i += hn::Lanes(d))
    hn::StoreU(hn::Mul(hn::Set(d, scale), hn::LoadU(d, values + i)), d, values + i);
  for (; i < count; ++i) values[i] *= scale;
}

template <class Weights>
HWY_INLINE void embed(const CpuGroup& group, size_t row_bytes) {
  const auto& p = group.params<EmbedParams>();
  const std::byte* table = group.arg<const std::byte>(1);
  const int32_t* ids = group.arg<const int32_t>(2);
  float* out = group.arg<float>(3);
  const size_t begin = size_t{group.group.x} * kEmbedGroupTokens;
  const size_t end = std::min<size_t>(begin + kEmbedGroupTokens, p.tokens);
  for (size_t token = begin; token < end; ++token) {
    float* HWY_RESTRICT to = out + token * p.hidden;
    // Negative ids become large.
    if (static_cast<uint32_t>(ids[token]) >= p.vocab) {
      std::fill_n(to, p.hidden, std::numeric_limits<float>::quiet_NaN());
      continue;
    }
    const std::byte* row = table + static_cast<size_t>(ids[token]) * row_bytes;
    for (size_t i = 0; i < p.hidden; i += kChunkElems) {
      const size_t elems = std::min<size_t>(kChunkElems, p.hidden - i);
      decode_row_part<Weights>(row, i, elems, to + i);
      scale_in_place(to + i, elems, p.scale);
    }
  }
}

#define DECANT_EMBED(format, Format)                                                               \
  void embed_##format(const CpuGroup& group) {                                                     \
    embed<Weights##Format>(group, bytes_of(DType::k##Format, group.params<EmbedParams>().hidden)); \
  }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_EMBED)
#undef DECANT_EMBED

}  // namespace decant::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::cpu {
#define DECANT_EMBED(format, Format) \
  HWY_EXPORT(embed_##format);        \
  void embed_##format(const CpuGroup& group) { HWY_DYNAMIC_DISPATCH(embed_##format)(group); }
DECANT_FOR_EACH_WEIGHT_FORMAT(DECANT_EMBED)
#undef DECANT_EMBED
}  // namespace decant::cpu
#endif
