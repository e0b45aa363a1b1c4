// Chooses the next token on the device: options, random sequence and history of one text.
#ifndef DECANT_TEXT_SAMPLER_H_
#define DECANT_TEXT_SAMPLER_H_

#include <cstdint>
#include <span>

#include "decant/core/encoder.h"
#include "decant/ops/sample/params.h"

namespace decant {

// Applied in the order repeat_penalty, top_k, top_p, min_p, temp; ops/sample says what each means.
struct SamplerOptions {
  float temp = 0.8f;           // 0: always the likeliest token
  int32_t top_k = 40;          // 0: off
  float top_p = 0.95f;         // 1: off
  float min_p = 0.05f;         // 0: off
  float repeat_penalty = 1;    // 1: off
  int32_t repeat_last_n = 64;  // tokens that the penalty looks back, prompt included; 0: none
  uint64_t seed = 0;           // same seed, same text

  // Throws InvalidArgument naming the option, what is expected and what it is.
  void validate() const;
};

// What it changes lies in device buffers, so a graph that record() was captured into samples by the
// current options, and every replay takes the next random number. The members that change something
// may only be called while no commands that use the sampler are running.
class Sampler {
 public:
  // Throws InvalidArgument (options, vocab not in 1 to 2^31-1) or AllocationFailed.
  Sampler(const Device& device, uint32_t vocab, const SamplerOptions& options = {});

  // Records: `token`, i32 [1], becomes the choice from `logits`, f32 [vocab] or [1, vocab], and
  // joins the history. Throws as sample() does.
  void record(CommandEncoder& encoder, const Buffer& logits, const Buffer& token);

  // Appends tokens that were not sampled, the prompt's, to the history. Throws InvalidArgument for
  // an id outside the vocabulary; nothing is appended then.
  void accept(std::span<const int32_t> ids);

  // Throws InvalidArgument: as validate(), and for a repeat_last_n above what the history was made
  // for: 64, or repeat_last_n of the constructor's options if that is more.
  void set_options(const SamplerOptions& options);
  const SamplerOptions& options() const { return options_; }

  // Begins a new text: an empty history and the first random number of the seed.
  void reset();

 private:
  void write_state(const SampleState& state);
  SampleState read_state() const;

  Device device_;
  uint32_t vocab_;
  SamplerOptions options_;
  Buffer params_, history_, state_, workspace_;
};

}  // namespace decant

#endif  // DECANT_TEXT_SAMPLER_H_
