// Decoding one token, five dispatches a layer with a barrier between them. The same mathematics as
// forward.cc: what a norm stands between is one op here, so that a token costs as few barriers as
// its dependencies allow.
//
// The residual stream changes places between two buffers: whoever needs it next adds the last
// block's output to it on the way.
#include <array>
#include <cmath>
#include <utility>

#include "decant/models/gemma3/model.h"
#include "decant/ops/attention_step/attention_step.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/norm_mat_vec/norm_mat_vec.h"
#include "decant/ops/softcap/softcap.h"
#include "decant/ops/step_inputs/step_inputs.h"

namespace decant::gemma3 {

// logits_ := what follows next_token_, appended to the caches.
void Model::decode(CommandEncoder& encoder) const {
  const DecodeState& a = decode_;
  step_inputs(encoder, {.advance = {.step = a.step,
                                    .token = next_token_,
                                    .attn_a = a.attn_global,
                                    .attn_b = a.attn_sliding,
                                    .log = a.log},
                        .table = weights_.embedding,
                        .x = a.x[0].reshape({1, config_.hidden}),
                        .scale = std::sqrt(static_cast<float>(config_.hidden)),
                        .ropes = {{{.out = a.rope_global,
                                    .base = config_.rope_base_global,
                                    .position_scale = config_.rope_position_scale},
                                   {.out = a.rope_sliding, .base = config_.rope_base_sliding}}}});

  // The stream is in x. From the first block on its sum with the block's output, under post_norm,
  // is still to be made.
  Buffer x = a.x[0], other = a.x[1], post_norm;
  const auto norm_then = [&](const Buffer& norm, const std::array<Buffer, 3>& weights,
                             const std::array<Buffer, 3>& outs, Combine combine,
                             const std::array<Buffer, kNormMatVecLater>& later, bool next_early) {
    const bool adds = static_cast<bool>(post_norm);
    norm_mat_vec(encoder, {.x = x,
                           .delta = adds ? a.proj : Buffer{},
                           .delta_weight = post_norm,
                           .x_out = adds ? other : Buffer{},
                           .norm_weight = norm,
                           .eps = config_.rms_eps,
                           .weights = weights,
                           .outs = outs,
                           .combine = combine,
                           .activations = activations_,
                           .later = later,
                           .next_early = next_early});
    if (adds) std::swap(x, other);
  };
  for (uint32_t layer = 0; layer < config_.layers; ++layer) {
    const LayerWeights& w = one_token_weights_.layers[layer];
    const bool global = config_.global[layer];
    norm_then(w.attn_norm, {w.q, w.k, w.v}, {a.q, a.k, a.v}, Combine::kNone,
              {w.attn_output, w.gate, w.up}, false);
    attention_step(encoder, {.q = a.q.reshape({config_.num_heads, config_.head_dim}),
                             .k = a.k.reshape({config_.num_kv_heads, config_.head_dim}),
                             .v = a.v.reshape({config_.num_kv_heads, config_.head_dim}),
                             .q_norm = w.q_norm,
                             .k_norm = w.k_norm,
                             .rope = global ? a.rope_global : a.rope_sliding,
                             .eps = config_.rms_eps,
                             .k_cache = caches_[layer].k,
                             .v_cache = caches_[layer].v,
                             .out = a.attn.reshape({config_.num_heads, config_.head_dim}),
                             .kv_seq_len = 1,
                             .scale = config_.attn_scale,
                             .mask = global ? AttnMask::kCausal : AttnMask::kSlidingWindow,
                             .sliding_window = global ? 0 : config_.sliding_window,
                             .params = global ? a.attn_global : a.attn_sliding});
    // Rounded to 8 bits, what this one takes costs more perplexity than all others together.
    mat_mul(encoder,
            {.weight = w.attn_output,
             .x = a.attn.reshape({1, config_.q_dim()}),
             .out = a.proj.reshape({1, config_.hidden}),
             .activations = activations_ == decant::Activations::kQ8 ? decant::Activations::kQ16
                                                                     : decant::Activations::kF32,
             .next_early = true});

    post_norm = w.post_attn_norm;
    std::array<Buffer, kNormMatVecLater> after{w.down};
    if (layer + 1 < config_.layers) {
      const LayerWeights& next = one_token_weights_.layers[layer + 1];
      after = {w.down, next.q, next.k, next.v};
    }
    norm_then(w.ffn_norm, {w.gate, w.up}, {a.act}, Combine::kGeluMul, after, true);
    mat_mul(encoder, {.weight = w.down,
                      .x = a.act.reshape({1, config_.feed_forward}),
                      .out = a.proj.reshape({1, config_.hidden}),
                      .activations = activations_,
                      .next_early = true});
    post_norm = w.post_ffn_norm;
  }
  norm_then(weights_.output_norm, {one_token_weights_.head}, {logits_}, Combine::kNone, {}, false);
  if (config_.final_logit_softcap > 0)
    softcap(encoder, {.x = logits_, .out = logits_, .cap = config_.final_logit_softcap});
}

}  // namespace decant::gemma3
