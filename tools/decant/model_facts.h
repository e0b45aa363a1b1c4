// What any GGUF file says about its model, whether or not the library can run it.
#ifndef DECANT_TOOLS_DECANT_MODEL_FACTS_H_
#define DECANT_TOOLS_DECANT_MODEL_FACTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "decant/formats/gguf.h"

namespace decant::cli {

struct TensorTypeFacts {
  std::string type;  // "Q4_K"
  bool supported;    // the library computes with it
  uint64_t tensors = 0;
  uint64_t parameters = 0;
  uint64_t bytes = 0;
};

struct ModelFacts {
  std::string architecture;  // "unknown" if the file does not say
  std::string name;
  std::string type;  // as llama-bench has it: "gemma3 270M Q4_K - Medium"
  uint64_t parameters = 0;
  uint64_t tensor_bytes = 0;
  std::vector<TensorTypeFacts> tensor_types;  // the largest first
};

ModelFacts model_facts(const GgufFile& file);

}  // namespace decant::cli

#endif  // DECANT_TOOLS_DECANT_MODEL_FACTS_H_
