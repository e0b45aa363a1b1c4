// The next token from logits: penalty, top-k, top-p, min-p, temperature, draw, in one op that needs
// nothing from the host between tokens.
#ifndef DECANT_OPS_SAMPLE_SAMPLE_H_
#define DECANT_OPS_SAMPLE_SAMPLE_H_

#include <string_view>

#include "decant/core/encoder.h"
#include "decant/ops/sample/params.h"

namespace decant {

// In this order (llama.cpp's):
//   penalty   of a token among the last min(repeat_last_n, history) tokens, once however often it
//             occurs, the logit is divided by repeat_penalty if positive, else multiplied by it
//   top_k     the top_k greatest logits stay (ties: the lower token)
//   top_p     of their probabilities, softmax at temperature 1, the fewest greatest stay whose sum
//             reaches top_p
//   min_p     those stay whose probability is at least min_p times the greatest
//   temp      the token is drawn with weights exp(logit / temp)
// The draw is the inverse of the distribution function, tokens ascending, at the uniform number
// that Philox4x32-10 gives for (seed, step). temp 0 takes the greatest logit (ties: the lower
// token). The same inputs give the same token, for any number of threads, eager or replayed.
//
// The token is written to `token` and appended to the history, and `state` advances by one.
//
// A NaN logit is never drawn; if all are NaN the token is 0. Infinite logits: those of +inf share
// all probability; -inf is only drawn if there is nothing greater.
struct SampleArgs {
  Buffer logits;   // f32 [vocab] or [1, vocab], vocab < 2^31; not changed
  Buffer token;    // i32 [1]
  Buffer history;  // i32 [capacity], a ring; ids outside the vocabulary are ignored
  Buffer state;    // i64 [2]: a SampleState; zeros to begin with
  SampleParams params{};
  // u8 [sizeof(SampleParams)]: read instead of `params` whenever the op runs. What `params` would
  // be refused for means here: temp, greedy; top_k, top_p, min_p, repeat_penalty, off; and of
  // repeat_last_n the capacity is used.
  Buffer params_buffer{};
  // u8 [sample_workspace_bytes(vocab)]: to keep the workspace between encoders; without it the
  // encoder lends one.
  Buffer workspace{};
};

size_t sample_workspace_bytes(uint32_t vocab);

// Throws InvalidArgument beginning with `who` and naming the first member out of its range: temp
// finite, >= 0; top_p and min_p in [0, 1]; repeat_penalty finite, > 0.
void check_sample_params(const SampleParams& params, std::string_view who);

// Records the op. Throws InvalidArgument: params out of range, repeat_last_n above the history's
// capacity while a penalty is on, another dtype or size, overlapping buffers, another device's.
void sample(CommandEncoder& encoder, const SampleArgs& args);

}  // namespace decant

#endif  // DECANT_OPS_SAMPLE_SAMPLE_H_
