// The forward pass of a prompt's tokens, one op call a line; decode.cc does the same for one token.
#include <cmath>

#include "decant/models/gemma3/model.h"
#include "decant/ops/advance/advance.h"
#include "decant/ops/cast/cast.h"
#include "decant/ops/embed/embed.h"
#include "decant/ops/flash_attn_prefill/flash_attn_prefill.h"
#include "decant/ops/gelu_mul/gelu_mul.h"
#include "decant/ops/kv_append/kv_append.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/qk_norm_rope/qk_norm_rope.h"
#include "decant/ops/rms_norm/rms_norm.h"
#include "decant/ops/rope_table/rope_table.h"
#include "decant/ops/softcap/softcap.h"

namespace decant::gemma3 {

// x := the residual stream after the last layer, from the batch's token ids.
void Model::forward(CommandEncoder& encoder, const Activations& a, const Batch& batch) const {
  // llama.cpp scales in f32; other runtimes round the factor to bf16.
  embed(encoder, {.table = weights_.embedding,
                  .ids = batch.ids,
                  .out = a.x,
                  .scale = std::sqrt(static_cast<float>(config_.hidden))});
  rope_table(encoder, {.out = a.rope_global,
                       .base = config_.rope_base_global,
                       .position_scale = config_.rope_position_scale,
                       .position = batch.position});
  rope_table(
      encoder,
      {.out = a.rope_sliding, .base = config_.rope_base_sliding, .position = batch.position});
  for (uint32_t layer = 0; layer < config_.layers; ++layer) {
    attention(encoder, a, batch, layer);
    feed_forward(encoder, a, layer);
  }
}

// x += post_norm(attention(norm(x))).
void Model::attention(CommandEncoder& encoder, const Activations& a, const Batch& batch,
                      uint32_t layer) const {
  const LayerWeights& w = weights_.layers[layer];
  const Cache& cache = caches_[layer];
  const bool global = config_.global[layer];
  const Buffer& rope = global ? a.rope_global : a.rope_sliding;
  const uint64_t n = batch.tokens, heads = config_.num_heads, kv_heads = config_.num_kv_heads,
                 dim = config_.head_dim;
  const Buffer q = a.q.reshape({n, heads, dim}), attn = a.attn.reshape({n, heads, dim});
  const Buffer k = a.k.reshape({n, kv_heads, dim}), v = a.v.reshape({n, kv_heads, dim});
  const float eps = config_.rms_eps;
  const AttnMask mask = global ? AttnMask::kCausal : AttnMask::kSlidingWindow;
  const uint32_t window = global ? 0 : config_.sliding_window;

  rms_norm(encoder, {.x = a.x, .out = a.h, .eps = eps, .weight = w.attn_norm});
  mat_mul(encoder, {.weight = w.q, .x = a.h, .out = a.q, .activations = activations_});
  mat_mul(encoder, {.weight = w.k, .x = a.h, .out = a.k, .activations = activations_});
  mat_mul(encoder, {.weight = w.v, .x = a.h, .out = a.v, .activations = activations_});
  qk_norm_rope(encoder, {.x = q, .weight = w.q_norm, .rope = rope, .out = q, .eps = eps});
  qk_norm_rope(encoder, {.x = k, .weight = w.k_norm, .rope = rope, .out = a.k16, .eps = eps});
  // The new tokens are not in the cache yet: a ring could not hold all that a long batch attends.
  const RingState older = ring_after(batch.position, static_cast<uint32_t>(cache.k.shape()[1]));
  cast(encoder, {.x = v, .out = a.v16});
  flash_attn_prefill(encoder, {.q = q,
                               .k_new = a.k16,
                               .v_new = a.v16,
                               .k_cache = cache.k,
                               .v_cache = cache.v,
                               .out = attn,
                               .kv_seq_len = older.kv_seq_len,
                               .ring_start = older.ring_start,
                               .scale = config_.attn_scale,
                               .mask = mask,
                               .sliding_window = window});
  kv_append(encoder, {.k = a.k16,
                      .v = a.v16,
                      .k_cache = cache.k,
                      .v_cache = cache.v,
                      .position = batch.position,
                      .ring = true});
  // Never rounded to 8 bits: what that costs in perplexity is most of what rounding costs at all.
  mat_mul(encoder, {.weight = w.attn_output, .x = a.attn, .out = a.proj});
  rms_norm_add(encoder, {.x = a.proj, .weight = w.post_attn_norm, .residual = a.x, .eps = eps});
}

// x += post_norm(down(gelu(gate(norm(x))) * up(norm(x)))).
void Model::feed_forward(CommandEncoder& encoder, const Activations& a, uint32_t layer) const {
  const LayerWeights& w = weights_.layers[layer];
  const float eps = config_.rms_eps;
  rms_norm(encoder, {.x = a.x, .out = a.h, .eps = eps, .weight = w.ffn_norm});
  mat_mul(encoder, {.weight = w.gate, .x = a.h, .out = a.gate, .activations = activations_});
  mat_mul(encoder, {.weight = w.up, .x = a.h, .out = a.up, .activations = activations_});
  gelu_mul(encoder, {.gate = a.gate, .up = a.up, .out = a.gate});
  mat_mul(encoder, {.weight = w.down, .x = a.gate, .out = a.proj, .activations = activations_});
  rms_norm_add(encoder, {.x = a.proj, .weight = w.post_ffn_norm, .residual = a.x, .eps = eps});
}

// logits := head(norm(x)) for rows of x; h is scratch.
void Model::head(CommandEncoder& encoder, const Buffer& x, const Buffer& h,
                 const Buffer& logits) const {
  rms_norm(encoder, {.x = x, .out = h, .eps = config_.rms_eps, .weight = weights_.output_norm});
  const Weights& weights = x.shape()[0] == 1 ? one_token_weights_ : weights_;
  mat_mul(encoder, {.weight = weights.head, .x = h, .out = logits, .activations = activations_});
  if (config_.final_logit_softcap > 0)
    softcap(encoder, {.x = logits, .out = logits, .cap = config_.final_logit_softcap});
}

}  // namespace decant::gemma3
