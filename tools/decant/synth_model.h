// A Gemma 3 of random weights, of any size, with a vocabulary that a tokenizer can use.
#ifndef DECANT_TOOLS_DECANT_SYNTH_MODEL_H_
#define DECANT_TOOLS_DECANT_SYNTH_MODEL_H_

#include <cstdint>
#include <string>

#include "decant/formats/gguf_writer.h"

namespace decant::cli {

// Defaults: the shapes and formats of Gemma 3 270M, Q4_K_M.
struct SynthModel {
  uint32_t layers = 18;
  uint32_t hidden = 640;
  uint32_t feed_forward = 2048;
  uint32_t heads = 4;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 256;
  uint32_t window = 512;
  uint32_t context = 32768;
  uint32_t vocab = 262144;
  std::string weights = "q4_k_m";  // or the name of a dtype, for all matrices
  uint64_t seed = 1;
};

inline constexpr uint32_t kSynthMinVocab = 512, kSynthMaxVocab = 400000;

// Throws InvalidArgument naming the option: sizes that do not fit each other or the format.
GgufWriter synth_model(const SynthModel& model);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_SYNTH_MODEL_H_
