#include "decant/kernels/rows.cuh"
#include "decant/ops/cast/params.h"

// Every conversion goes through f32, which holds all f16 and bf16 values exactly: one rounding.

namespace decant {

template <typename From, typename To>
__device__ void convert(const CastParams& params, const void* x, void* out) {
  const uint64_t begin = uint64_t{blockIdx.x} * kCastGroupElements;
  const uint64_t count = std::min<uint64_t>(kCastGroupElements, params.elements - begin);
  for_each_four(count, [&](uint64_t i, uint64_t rest) {
    store_row(load_row(static_cast<const From*>(x) + begin + i, rest),
              static_cast<To*>(out) + begin + i, rest);
  });
}

template <typename From>
__device__ void convert_from(const CastParams& params, const void* x, void* out) {
  switch (params.to) {
    case CastType::kF32:
      return convert<From, float>(params, x, out);
    case CastType::kF16:
      return convert<From, F16>(params, x, out);
    case CastType::kBF16:
      return convert<From, BF16>(params, x, out);
  }
}

extern "C" __global__ void cast(const CastParams value, const CastParams* in_buffer, const void* x,
                                void* out) {
  const CastParams params = in_buffer ? *in_buffer : value;
  switch (params.from) {
    case CastType::kF32:
      return convert_from<float>(params, x, out);
    case CastType::kF16:
      return convert_from<F16>(params, x, out);
    case CastType::kBF16:
      return convert_from<BF16>(params, x, out);
  }
}

}  // namespace decant
