// Shared by host and device code.
#ifndef DECANT_OPS_EMBED_PARAMS_H_
#define DECANT_OPS_EMBED_PARAMS_H_

#include <cstddef>
#include <cstdint>

#include "decant/kernels/device_code.h"

namespace decant {

struct EmbedParams {
  uint32_t vocab;
  uint32_t hidden;
  uint32_t tokens;
  float scale;
};
static_assert(sizeof(EmbedParams) == 16 && offsetof(EmbedParams, hidden) == 4 &&
              offsetof(EmbedParams, tokens) == 8 && offsetof(EmbedParams, scale) == 12);

// Tokens that one group looks up.
DECANT_CONSTANT uint32_t kEmbedGroupTokens = 8;
DECANT_CONSTANT uint32_t kEmbedThreads = 128;  // of a group on CUDA

}  // namespace decant

#endif  // DECANT_OPS_EMBED_PARAMS_H_
