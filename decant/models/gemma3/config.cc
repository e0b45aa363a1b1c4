#include "decant/models/gemma3/config.h"

#include <cmath>

#include "decant/core/error.h"

namespace decant::gemma3 {
namespace {

// A positive count below 2^20, far above any real model's, so that products stay small.
uint32_t count_of(const GgufFile& file, const std::string& key) {
  const auto value = file.get<uint32_t>(key);
  require(value > 0 && value < (1u << 20), "{}: {}: expected 1 to 1048575, got {}", file.name(),
          key, value);
  return value;
}

double positive(const GgufFile& file, const std::string& key, double value) {
  require(std::isfinite(value) && value > 0, "{}: {}: expected a number above 0, got {}",
          file.name(), key, value);
  return value;
}

// Every sixth layer is global unless the file says otherwise (a period, or a flag per layer that is
// true for sliding ones); without a window all are.
std::vector<bool> global_layers(const GgufFile& file, uint32_t layers, uint32_t window) {
  constexpr const char* kKey = "gemma3.attention.sliding_window_pattern";
  if (window == 0) return std::vector<bool>(layers, true);
  std::vector<bool> global(layers);
  const GgufEntry* entry = file.find(kKey);
  if (entry && entry->value.type() == GgufType::kArray) {
    const auto sliding = file.get<GgufArray<bool>>(kKey);
    require(sliding.size() == layers, "{}: {}: expected {} flags, got {}", file.name(), kKey,
            layers, sliding.size());
    for (uint32_t i = 0; i < layers; ++i) global[i] = !sliding[i];
    return global;
  }
  const uint32_t period = entry ? count_of(file, kKey) : 6;
  for (uint32_t i = 0; i < layers; ++i) global[i] = (i + 1) % period == 0;
  return global;
}

}  // namespace

Config config_from(const GgufFile& file) {
  const auto architecture = file.get<std::string>("general.architecture");
  require(architecture == "gemma3", "{}: general.architecture: expected gemma3, got {}",
          file.name(), architecture);
  const auto number = [&](const char* key, double fallback) {
    return positive(file, key, file.get_or<double>(key, fallback));
  };

  Config c{};
  c.name = file.get_or<std::string>("general.name", "Gemma 3");
  c.layers = count_of(file, "gemma3.block_count");
  c.hidden = count_of(file, "gemma3.embedding_length");
  c.feed_forward = count_of(file, "gemma3.feed_forward_length");
  c.num_heads = count_of(file, "gemma3.attention.head_count");
  c.num_kv_heads = count_of(file, "gemma3.attention.head_count_kv");
  c.head_dim = count_of(file, "gemma3.attention.key_length");
  c.context = file.get<uint32_t>("gemma3.context_length");
  c.sliding_window = file.get_or<uint32_t>("gemma3.attention.sliding_window", 0);
  c.rms_eps = static_cast<float>(number("gemma3.attention.layer_norm_rms_epsilon", 1e-6));
  c.rope_base_global = number("gemma3.rope.freq_base", 1e6);
  c.rope_base_sliding = number("gemma3.rope.freq_base_swa", 1e4);
  c.final_logit_softcap = file.get_or<float>("gemma3.final_logit_softcapping", 0.0f);
  c.global = global_layers(file, c.layers, c.sliding_window);

  const GgufTensor& embedding = file.tensor("token_embd.weight");
  require(embedding.shape.rank() == 2 && embedding.shape[0] > 0 && embedding.shape[0] < (1u << 24),
          "{}: token_embd.weight: expected [vocabulary, {}], got {}", file.name(), c.hidden,
          embedding.shape);
  c.vocab = static_cast<uint32_t>(embedding.shape[0]);

  const auto value_length = file.get_or<uint32_t>("gemma3.attention.value_length", c.head_dim);
  require(value_length == c.head_dim,
          "{}: gemma3.attention.value_length: expected key_length {}, got {}", file.name(),
          c.head_dim, value_length);
  require(c.head_dim == 64 || c.head_dim == 128 || c.head_dim == 256,
          "{}: gemma3.attention.key_length: expected 64, 128 or 256, got {}", file.name(),
          c.head_dim);
  require(c.num_heads % c.num_kv_heads == 0,
          "{}: gemma3.attention.head_count: expected a multiple of head_count_kv {}, got {}",
          file.name(), c.num_kv_heads, c.num_heads);
  require(c.context > 0 && c.context <= (1u << 24),
          "{}: gemma3.context_length: expected 1 to 16777216, got {}", file.name(), c.context);
  require(c.final_logit_softcap >= 0 && std::isfinite(c.final_logit_softcap),
          "{}: gemma3.final_logit_softcapping: expected 0 or more, got {}", file.name(),
          c.final_logit_softcap);

  const auto scaling = file.get_or<std::string>("gemma3.rope.scaling.type", "linear");
  require(scaling == "linear" || scaling == "none",
          "{}: gemma3.rope.scaling.type: expected linear or none, got {}", file.name(), scaling);
  c.rope_position_scale = scaling == "none" ? 1 : 1 / number("gemma3.rope.scaling.factor", 1);

  // 27B, known by its 62 layers, scales by the width per head of the residual stream instead.
  const double per_head = c.layers == 62 ? double{1.0} * c.hidden / c.num_heads : c.head_dim;
  c.attn_scale = static_cast<float>(1 / std::sqrt(per_head));
  return c;
}

}  // namespace decant::gemma3
