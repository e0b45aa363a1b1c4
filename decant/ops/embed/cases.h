// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_EMBED_CASES_H_
#define DECANT_OPS_EMBED_CASES_H_

#include <cstdint>

namespace decant {

struct EmbedCase {
  uint32_t vocab, hidden, tokens;
  bool bench;
};

// One block, one chunk and part of one; one group and around it; Gemma 3's widths. `hidden` is a
// multiple of 256 or only used with formats whose blocks fit.
inline constexpr EmbedCase kEmbedCases[] = {
    {1, 32, 1, false},    {7, 64, 7, false},    {5, 256, 8, false},  {5, 256, 9, false},
    {33, 640, 17, false}, {9, 512, 3, false},   {4, 1152, 5, false}, {3, 2560, 2, false},
    {512, 640, 1, true},  {512, 640, 512, true}};

// Any width for f32, f16 and bf16.
inline constexpr EmbedCase kEmbedPlainCases[] = {
    {3, 1, 2, false}, {3, 3, 2, false}, {4, 17, 9, false}, {5, 255, 3, false}, {5, 257, 3, false}};

}  // namespace decant

#endif  // DECANT_OPS_EMBED_CASES_H_
