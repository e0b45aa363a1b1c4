// A walk through the language: what the shim and the source step have to get right. Every line of
// `out` is compared by language_test.cc.
#include <metal_simdgroup>
#include <metal_stdlib>

using namespace metal;

typedef half4 h4;
#define BLOCK 32

constant constexpr int kTable[4] = {1, 2, 3, 4};
constant float kWeights[3] = {0.5f, 1.5, 2.5f};
constant bool with_bonus [[function_constant(0)]];
constant int bonus [[function_constant(1)]];
constant float scale [[function_constant(2)]];
constant float scale_or_one = is_function_constant_defined(scale) ? scale : 1.0f;
enum Mode : uint { kA = 0, kB = 1 };

struct BlockQ4 {
  half d;
  uint8_t qs[16];
};
static_assert(sizeof(BlockQ4) == 18, "packed");

struct Args {
  int ne;
  ulong nb;
  float4 v;
  packed_float3 p;
  uchar4 c;
};
static_assert(sizeof(Args) == 48, "as the host lays it out");

template <typename T>
struct Traits {
  static constant constexpr int n = 4;
  using type = vec<T, 4>;
};
template <typename T>
METAL_FUNC T twice(T x) {
  return x + x;
}
inline void add_to(thread float4& a, float4 b) { a += b; }
inline float load_shared(threadgroup const float* p, uint i) { return p[i]; }
inline float load_device(const device float* p, uint i) { return p[i]; }

namespace inner {
kernel void in_a_namespace(device float* out [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  out[i] = float(i);
}
}  // namespace inner

kernel void vectors(constant Args& args [[buffer(0)]], device float* out [[buffer(1)]]) {
  float4 v = args.v;      // 1 2 3 4
  v.wzyx = v.xyzw * 2.0;  // 8 6 4 2
  v.xy = v.yx;            // 6 8 4 2
  v.x += 1;               // 7 8 4 2
  v.yz *= 0.5;            // 7 4 2 2
  v *= 0.5f;              // 3.5 2 1 1
  const h4 h = h4(v);
  const half2 hh = h.xy + half2(1.0h, 2.0h);  // 4.5 4
  float4 back = float4(h.zwxy);               // 1 1 3.5 2
  add_to(back, float4(hh, 0.0f, -9.0f));      // 5.5 5 3.5 -7
  const bool4 positive = back > float4(0);
  const float4 chosen = select(float4(-1), back, positive);
  device float* o = out;
  *o++ = v.x, *o++ = v.y, *o++ = v.z, *o++ = v.w;
  *o++ = chosen.x, *o++ = chosen.y, *o++ = chosen.z, *o++ = chosen.w;
  *o++ = dot(chosen.xyz, float3(args.p)) + length(float3(3, 4, 0));
  *o++ = any(positive) + 2 * all(positive);
  const uchar4 sum = args.c + uchar4(1);
  *o++ = sum.w;
  *o++ = as_type<ushort2>(as_type<uint>(1.0f)).y;
  const float2x2 m = float2x2(float2(1, 2), float2(3, 4));
  const float2 mv = m * float2(1, 1);
  *o++ = mv.x, *o++ = mv.y;
  float4 rgba = float4(1, 2, 3, 4);
  rgba.rgb = rgba.bgr;
  *o++ = rgba.r, *o++ = rgba[3];
  const uint4 shifted = uint4(1, 2, 3, 4) << 2;
  *o++ = (shifted & 8).y, *o++ = -shifted.x == ~0u - 3;
  packed_float3 packed = float3(1, 2, 3) * 2;
  *o++ = (packed + 1.0f).z + packed[0];
  *o++ = float3(half3(7, 8, 9)).z;
}

kernel void scalars(device const BlockQ4* q [[buffer(0)]], device float* out [[buffer(1)]]) {
  device float* o = out;
  *o++ = max(1.0f, 0.0f) + fmax(2.0h, 1.0h) + min(3, 4);
  *o++ = precise::exp(0.0f) + fast::log(1.0f) + metal::precise::rsqrt(4.0f) + tanh(0.0f);
  *o++ = clamp(5, 0, 3) + fma(2.0f, 3.0f, 1.0f) + mix(0.0f, 4.0f, 0.25f);
  *o++ = popcount(255u) + clz(1u) + abs(-3) + int(sign(-2.0f));
  *o++ = 1e1 + 0x1.8p1 + 10 / 4 + 3 % 2 + 1 / 2.0;  // floats: no double anywhere
  *o++ = sizeof(1.0) + sizeof(1.0h) + sizeof(long) + sizeof(float3) + sizeof(packed_half3);
  *o++ = numeric_limits<half>::max();
  *o++ = isnan(NAN) + 2 * isinf(INFINITY) + 4 * isfinite(FLT_MAX);
  half sum = 0;
#pragma unroll
  for (int i = 0; i < 16; ++i) sum += q[1].d * half(q[1].qs[i] & 0xF);
  *o++ = sum;
  *o++ = half(2049.0f);   // rounds to even
  *o++ = bfloat(257.0f);  // 8 bits
  *o++ = half(60000.0f) + half(60000.0f) == HALF_MAX ? 1 : isinf(half(60000.0f) + half(60000.0f));
  *o++ = kTable[1] + kWeights[1] + Traits<half>::n + twice(2.5f) + kB;
  *o++ = char(uchar(200));
  *o++ = extract_bits(0xF0u, 4, 4) + rotate(0x80000000u, 1u) + mulhi(0x80000000u, 4u);
  *o++ = scale_or_one;
}

kernel void constants(device float* out [[buffer(0)]],
                      device const float* extra [[buffer(1), function_constant(with_bonus)]]) {
  out[0] = with_bonus ? bonus + extra[0] : -1.0f;
}

kernel void lanes(device float* out [[buffer(0)]], uint lane [[thread_index_in_simdgroup]]) {
  const float x = float(lane);
  device float* o = out + lane;
  const auto put = [&](float value) {
    *o = value;
    o += 32;
  };
  put(simd_sum(x));
  put(simd_max(x) + simd_min(x - 1.0f));
  put(simd_shuffle_xor(x, 1));
  put(simd_shuffle(x, ushort(31 - lane)));
  put(simd_shuffle_down(x, 4));
  put(simd_shuffle_up(x, 4));
  put(simd_shuffle_rotate_down(x, 4));
  put(simd_broadcast(x, 3) + simd_broadcast_first(x + 1));
  put(simd_sum(float4(1, 2, 3, x)).w);
  put(simd_prefix_exclusive_sum(lane));
  put(simd_prefix_inclusive_sum(1u));
  put(ulong(simd_vote::vote_t(simd_ballot(lane < 5))));
  put(simd_any(lane == 7) + 2 * simd_all(lane < 32) + 4 * simd_all(lane < 31));
  put(simd_or(1u << lane) == 0xFFFFFFFFu && simd_and(lane | 64) == 64 && simd_xor(lane) == 0);
  put(quad_sum(x) + quad_broadcast(x, 1));
}

kernel void groups(
    device float* out [[buffer(0)]], device atomic_uint* count [[buffer(1)]],
    device atomic<float>* sum [[buffer(2)]], threadgroup float* dynamic [[threadgroup(0)]],
    uint3 gid [[thread_position_in_grid]], ushort2 tid [[thread_position_in_threadgroup]],
    uint flat [[thread_index_in_threadgroup]], uint3 tg [[threadgroup_position_in_grid]],
    ushort3 threads [[threads_per_threadgroup]], uint2 tgs [[threadgroups_per_grid]],
    uint sg [[simdgroup_index_in_threadgroup]], uint sgs [[simdgroups_per_threadgroup]],
    uint width [[threads_per_simdgroup]], uint3 all [[threads_per_grid]]) {
  threadgroup float tile[2][BLOCK], first;
  threadgroup atomic_int local;
  threadgroup Traits<float>::type vecs[2 * BLOCK];
  if (flat == 0) {
    atomic_store_explicit(&local, 0, memory_order_relaxed);
    first = 5;
  }
  tile[tid.y][tid.x] = gid.x;
  dynamic[flat] = flat;
  vecs[flat] = float4(flat);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const float other =
      tile[1 - tid.y][31 - tid.x] + vecs[63 - flat].w + load_shared(dynamic, flat ^ 1);
  atomic_fetch_add_explicit(&local, 2, memory_order_relaxed);
  atomic_fetch_add_explicit(count, 1u, memory_order_relaxed);
  atomic_fetch_add_explicit(sum, 0.5f, memory_order_relaxed);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint at = (tg.y * tgs.x + tg.x) * 64 + flat;
  out[at] = other + first;
  if (flat == 63)
    out[at] = atomic_load_explicit(&local, memory_order_relaxed) + 1000 * sg + 10000 * sgs +
              100000 * (width == 32) + 1000000 * (threads.y + all.y);
}

template <typename T, int N>
kernel void row_sums(device const T* x [[buffer(0)]], device float* out [[buffer(1)]],
                     uint row [[threadgroup_position_in_grid]],
                     uint lane [[thread_index_in_simdgroup]]) {
  device const vec<T, 4>* x4 = (device const vec<T, 4>*)(x + row * N);
  float sum = 0;
  for (uint i = lane; i < N / 4; i += 32) sum += dot(float4(x4[i]), float4(1));
  sum = simd_sum(sum);
  if (lane == 0) out[row] = sum;
}

#define INSTANTIATE(name, ...) \
  template [[host_name(name)]] [[kernel]] decltype(row_sums<__VA_ARGS__>) row_sums<__VA_ARGS__>;
INSTANTIATE(
    "row_sums_f16"
    "_128",
    half, 128)
template [[host_name("row_sums_f32_256")]] kernel void row_sums<float, (1 << 8)>(
    device const float*, device float*, uint, uint);
