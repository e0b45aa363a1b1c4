#include "decant/models/gemma3/weights.h"

#include <algorithm>
#include <array>

#include "decant/core/encoder.h"
#include "decant/core/error.h"
#include "decant/kernels/block_formats/x16.h"
#include "decant/ops/pack_weights/pack_weights.h"

namespace decant::gemma3 {

Weights load_weights(const Device& device, const GgufFile& file, const Config& c) {
  const auto load = [&](const std::string& name, const Shape& shape) {
    Buffer weight = file.weight(device, name);
    require(weight.shape() == shape, "{}: {}: expected shape {}, got {}", file.name(), name, shape,
            weight.shape());
    return weight;
  };
  const auto load_norm = [&](const std::string& name, uint64_t size) {
    Buffer weight = load(name, {size});
    if (weight.dtype() != DType::kF32)
      fail(ErrorKind::kUnsupportedDtype, "{}: {}: a norm's weights must be f32, got {}",
           file.name(), name, to_string(weight.dtype()));
    return weight;
  };

  Weights w;
  w.embedding = load("token_embd.weight", {c.vocab, c.hidden});
  w.head =
      file.find_tensor("output.weight") ? load("output.weight", {c.vocab, c.hidden}) : w.embedding;
  w.output_norm = load_norm("output_norm.weight", c.hidden);
  for (uint32_t i = 0; i < c.layers; ++i) {
    const auto name = [i](const char* part) { return fmt::format("blk.{}.{}.weight", i, part); };
    w.layers.push_back({
        .attn_norm = load_norm(name("attn_norm"), c.hidden),
        .q = load(name("attn_q"), {c.q_dim(), c.hidden}),
        .k = load(name("attn_k"), {c.kv_dim(), c.hidden}),
        .v = load(name("attn_v"), {c.kv_dim(), c.hidden}),
        .q_norm = load_norm(name("attn_q_norm"), c.head_dim),
        .k_norm = load_norm(name("attn_k_norm"), c.head_dim),
        .attn_output = load(name("attn_output"), {c.hidden, c.q_dim()}),
        .post_attn_norm = load_norm(name("post_attention_norm"), c.hidden),
        .ffn_norm = load_norm(name("ffn_norm"), c.hidden),
        .gate = load(name("ffn_gate"), {c.feed_forward, c.hidden}),
        .up = load(name("ffn_up"), {c.feed_forward, c.hidden}),
        .down = load(name("ffn_down"), {c.hidden, c.feed_forward}),
        .post_ffn_norm = load_norm(name("post_ffw_norm"), c.hidden),
    });
  }
  return w;
}

Weights packed_weights(const Device& device, const GgufFile& file, const Weights& weights) {
  Weights packed = weights;
  CommandEncoder encoder(device);
  if (can_pack_weights(device, packed.head)) {
    // Most of a small model: in parts, so that the file's pages and the copy never stand in memory
    // as a whole together.
    constexpr uint64_t kPartRows = 16384;
    const Buffer from = packed.head;
    const Shape& shape = from.shape();
    packed.head = device.buffer(*x16_of(from.dtype()), shape);
    for (uint64_t at = 0; at < shape[0]; at += kPartRows) {
      const uint64_t rows = std::min(kPartRows, shape[0] - at);
      pack_weights(encoder, {.weight = from.rows(at, rows), .out = packed.head.rows(at, rows)});
      encoder.commit_and_wait();
      file.not_needed(from.rows(at, rows));
    }
  }
  // Those of the layers in one piece: a layer's own are smaller than a huge page and would get
  // none.
  const auto layer_weights = [](LayerWeights& w) {
    return std::array{&w.q, &w.k, &w.v, &w.attn_output, &w.gate, &w.up, &w.down};
  };
  const auto packed_bytes = [](const Buffer& weight) {
    constexpr uint64_t kAlign = 64;
    return (bytes_of(*x16_of(weight.dtype()), weight.elements()) + kAlign - 1) / kAlign * kAlign;
  };
  uint64_t total = 0;
  for (LayerWeights& w : packed.layers)
    for (const Buffer* weight : layer_weights(w))
      if (can_pack_weights(device, *weight)) total += packed_bytes(*weight);
  if (total == 0) return packed;
  const Buffer all = device.buffer(DType::kU8, {total});
  uint64_t at = 0;
  for (LayerWeights& w : packed.layers)
    for (Buffer* weight : layer_weights(w)) {
      if (!can_pack_weights(device, *weight)) continue;
      const Buffer out = all.slice(at, *x16_of(weight->dtype()), weight->shape());
      at += packed_bytes(*weight);
      pack_weights(encoder, {.weight = *weight, .out = out});
      *weight = out;
    }
  encoder.commit_and_wait();
  return packed;
}

}  // namespace decant::gemma3
