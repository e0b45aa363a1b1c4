// Read by test.cc and bench.cc.
#ifndef DECANT_OPS_SAMPLE_CASES_H_
#define DECANT_OPS_SAMPLE_CASES_H_

#include <cstdint>

#include "decant/ops/sample/params.h"

namespace decant {

struct SampleCase {
  const char* name;
  SampleParams params;
};

// Every sampler alone, all together, and the borders between the ways that candidates are found.
inline constexpr SampleCase kSampleCases[] = {
    {"greedy", {}},
    {"greedy_penalty", {.repeat_penalty = 1.5f}},
    {"defaults", {.temp = 0.8f, .top_p = 0.95f, .min_p = 0.05f, .top_k = 40}},
    {"everything",
     {.temp = 1.3f, .top_p = 0.9f, .min_p = 0.01f, .repeat_penalty = 1.3f, .top_k = 50}},
    {"nothing", {.temp = 1.0f}},
    {"nothing_hot", {.temp = 2.0f, .repeat_penalty = 0.8f}},
    {"nothing_cold", {.temp = 0.1f}},
    {"top_k", {.temp = 1.0f, .top_k = 20}},
    {"top_k_1", {.temp = 1.0f, .top_k = 1}},
    {"top_k_256", {.temp = 1.5f, .top_k = 256}},
    {"top_k_257", {.temp = 1.5f, .top_p = 0.9f, .top_k = 257}},
    {"top_k_1000", {.temp = 1.5f, .min_p = 0.001f, .repeat_penalty = 1.2f, .top_k = 1000}},
    {"top_p", {.temp = 1.0f, .top_p = 0.9f}},
    {"top_p_penalty", {.temp = 0.7f, .top_p = 0.5f, .repeat_penalty = 2.0f}},
    {"top_p_0", {.temp = 1.0f, .top_p = 0}},
    {"min_p", {.temp = 1.0f, .min_p = 0.05f}},
    {"min_p_1", {.temp = 1.0f, .min_p = 1}},
    {"top_p_min_p", {.temp = 3.0f, .top_p = 0.99f, .min_p = 0.001f}},
};

// One group and several, whole chunks of 16,384 and not.
inline constexpr uint32_t kSampleVocabs[] = {1, 2, 17, 300, 16384, 16385, 40000};
inline constexpr uint32_t kSampleBenchVocab = 262144;

}  // namespace decant

#endif  // DECANT_OPS_SAMPLE_CASES_H_
