// Translation of cpu.cc. Metal's conversions from f32 to f16 round to nearest even.
#include <metal_stdlib>

#include "decant/ops/cast/params.h"

using namespace metal;
using namespace decant;

struct F32 {
  using Element = float;
  static float load(float v) { return v; }
  static float store(float v) { return v; }
};
struct F16 {
  using Element = half;
  static float load(half v) { return float(v); }
  static half store(float v) { return half(v); }
};
// By its bits: the type bfloat is younger than the Metal versions that we serve.
struct BF16 {
  using Element = ushort;
  static float load(ushort v) { return as_type<float>(uint(v) << 16); }
  static ushort store(float v) {
    const uint bits = as_type<uint>(v);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return ushort(bits >> 16 | 0x40u);
    return ushort((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
  }
};

template <class From, class To>
static void convert(constant CastParams& params, device const uchar* x, device uchar* out,
                    uint group, uint thread_index, uint threads) {
  device const typename From::Element* from =
      reinterpret_cast<device const typename From::Element*>(x);
  device typename To::Element* to = reinterpret_cast<device typename To::Element*>(out);
  const ulong begin = ulong(group) * kCastGroupElements;
  const ulong end = min(begin + kCastGroupElements, ulong(params.elements));
  for (ulong i = begin + thread_index; i < end; i += threads)
    to[i] = To::store(From::load(from[i]));
}

template <class From>
static void convert_from(constant CastParams& params, device const uchar* x, device uchar* out,
                         uint group, uint thread_index, uint threads) {
  if (params.to == CastType::kF32)
    convert<From, F32>(params, x, out, group, thread_index, threads);
  else if (params.to == CastType::kF16)
    convert<From, F16>(params, x, out, group, thread_index, threads);
  else
    convert<From, BF16>(params, x, out, group, thread_index, threads);
}

kernel void cast(constant CastParams& params [[buffer(0)]], device const uchar* x [[buffer(1)]],
                 device uchar* out [[buffer(2)]], uint group [[threadgroup_position_in_grid]],
                 uint thread_index [[thread_index_in_threadgroup]],
                 uint threads [[threads_per_threadgroup]]) {
  if (params.from == CastType::kF32)
    convert_from<F32>(params, x, out, group, thread_index, threads);
  else if (params.from == CastType::kF16)
    convert_from<F16>(params, x, out, group, thread_index, threads);
  else
    convert_from<BF16>(params, x, out, group, thread_index, threads);
}
