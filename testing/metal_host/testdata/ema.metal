// Somebody else's kernel, as far as this project is concerned: it follows none of its habits.
#include <metal_stdlib>
#include "ema_types.h"
using namespace metal;

// Exponential moving average along each row: y[t] = decay * y[t-1] + (1 - decay) * x[t]. Every lane
// takes CHUNK steps; the lanes' decayed sums meet in a scan.
template <typename T>
[[kernel]] void ema_rows(constant ema_params &p [[buffer(0)]], device const T *x [[buffer(1)]],
                         device float *y [[buffer(2)]],
                         uint2 pos [[thread_position_in_grid]],
                         ushort lane [[thread_index_in_simdgroup]])
{
    const uint row = pos.y;
    device const T *in = x + row * p.length + lane * CHUNK;
    device float *out = y + row * p.length + lane * CHUNK;
    float own = 0.f, whole = 1.f;
    for (int i = 0; i < CHUNK; i++) {
        own = p.decay * own + (1.f - p.decay) * float(in[i]);
        whole *= p.decay;
    }
    // Inclusive scan over (own, whole).
    for (ushort d = 1; d < 32; d <<= 1) {
        const float before = simd_shuffle_up(own, d);
        const float factor = simd_shuffle_up(whole, d);
        if (lane >= d) {
            own += whole * before;
            whole *= factor;
        }
    }
    float state = simd_shuffle_up(own, 1);
    if (lane == 0) state = 0.f;
    for (int i = 0; i < CHUNK; i++) {
        state = p.decay * state + (1.f - p.decay) * float(in[i]);
        out[i] = state;
    }
}
typedef decltype(ema_rows<half>) ema_t;
template [[host_name("ema_f16")]] [[kernel]] ema_t ema_rows<half>;
template [[host_name("ema_f32")]] [[kernel]] decltype(ema_rows<float>) ema_rows<float>;
