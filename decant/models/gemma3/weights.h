// The tensors of a Gemma 3 file, as buffers over its mapping.
#ifndef DECANT_MODELS_GEMMA3_WEIGHTS_H_
#define DECANT_MODELS_GEMMA3_WEIGHTS_H_

#include <vector>

#include "decant/core/buffer.h"
#include "decant/formats/gguf.h"
#include "decant/models/gemma3/config.h"

namespace decant::gemma3 {

struct LayerWeights {
  Buffer attn_norm;       // f32 [hidden]
  Buffer q, k, v;         // [q_dim or kv_dim, hidden]
  Buffer q_norm, k_norm;  // f32 [head_dim]
  Buffer attn_output;     // [hidden, q_dim]
  Buffer post_attn_norm;  // f32 [hidden]
  Buffer ffn_norm;        // f32 [hidden]
  Buffer gate, up;        // [feed_forward, hidden]
  Buffer down;            // [hidden, feed_forward]
  Buffer post_ffn_norm;   // f32 [hidden]
};

struct Weights {
  Buffer embedding;    // [vocab, hidden]
  Buffer head;         // [vocab, hidden]; the embedding unless the file has its own
  Buffer output_norm;  // f32 [hidden]
  std::vector<LayerWeights> layers;
};

// Throws GgufParse for a missing tensor, UnsupportedDtype for one of a type that cannot be computed
// with, InvalidArgument naming tensor, expected and received shape.
Weights load_weights(const Device& device, const GgufFile& file, const Config& config);

// The same weights as products of one token's activations, rounded to 8 bits, read them fastest: on
// a CPU packed copies (ops/pack_weights), which of 270M take 0.2 GB. The memory of the head's part
// of the file is given back, since only prompts of evaluate() still read it.
Weights packed_weights(const Device& device, const GgufFile& file, const Weights& weights);

}  // namespace decant::gemma3

#endif  // DECANT_MODELS_GEMMA3_WEIGHTS_H_
