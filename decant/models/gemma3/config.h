// What a Gemma 3 text model is, as its GGUF file says.
#ifndef DECANT_MODELS_GEMMA3_CONFIG_H_
#define DECANT_MODELS_GEMMA3_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "decant/formats/gguf.h"

namespace decant::gemma3 {

struct Config {
  std::string name;  // general.name
  uint32_t layers;
  uint32_t hidden;
  uint32_t feed_forward;
  uint32_t num_heads;
  uint32_t num_kv_heads;
  uint32_t head_dim;
  uint32_t vocab;
  uint32_t context;         // tokens the model was trained for
  uint32_t sliding_window;  // keys, the query's own included; 0: every layer is global
  float rms_eps;
  float attn_scale;
  double rope_base_global;
  double rope_base_sliding;
  double rope_position_scale;  // of global layers: 1 / rope.scaling.factor
  float final_logit_softcap;   // 0: none
  std::vector<bool> global;    // per layer: attends the whole context

  uint32_t q_dim() const { return num_heads * head_dim; }
  uint32_t kv_dim() const { return num_kv_heads * head_dim; }
};

// Throws InvalidArgument for another architecture or sizes that do not fit together, GgufParse for
// missing keys.
Config config_from(const GgufFile& file);

}  // namespace decant::gemma3

#endif  // DECANT_MODELS_GEMMA3_CONFIG_H_
