// Gemma 3 (text): from token ids to logits, on any device.
#ifndef DECANT_MODELS_GEMMA3_MODEL_H_
#define DECANT_MODELS_GEMMA3_MODEL_H_

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "decant/core/graph.h"
#include "decant/kernels/activations.h"
#include "decant/models/gemma3/config.h"
#include "decant/models/gemma3/weights.h"
#include "decant/text/sampler.h"

namespace decant::gemma3 {

struct ModelOptions {
  uint32_t context = 4096;      // tokens that the caches of global layers hold; 0: the model's own
  uint32_t prompt_batch = 512;  // prompt tokens that run at once
  // kQ8: products with weights in a block format round what they multiply to 8 bits, on a CPU
  // (README.md says what that costs).
  Activations activations = Activations::kQ8;
};

// One sequence of tokens and its KV caches. Not thread-safe. Weights are used where the file is
// mapped, but on a CPU, with activations kQ8, decoding uses copies in an order of its own.
class Model {
 public:
  // Tokens that rewind() may take back at once: sliding layers keep so many spare slots.
  static constexpr uint32_t kMaxRewind = 7;
  // Tokens that steps() keeps under way at most.
  static constexpr uint32_t kAhead = 3;

  // Throws what config_from and load_weights throw, and InvalidArgument for a context that is
  // larger than the model's.
  Model(const Device& device, const GgufFile& file, const ModelOptions& options = {});

  const Config& config() const { return config_; }
  const Device& device() const { return device_; }
  uint32_t context() const { return context_; }
  uint32_t position() const { return position_; }  // tokens in the caches
  uint32_t room() const { return context_ - position_; }

  // Appends the tokens and computes the logits that follow the last of them. Throws InvalidArgument
  // for no tokens, an id outside the vocabulary, or more tokens than there is room for; nothing is
  // appended then.
  void prompt(std::span<const int32_t> tokens);

  // As prompt(), and calls `row(i, logits)` with the logits that follow tokens[i], in order, for
  // every i >= first. The span is valid during the call.
  void evaluate(std::span<const int32_t> tokens, size_t first,
                const std::function<void(size_t, std::span<const float>)>& row);

  // f32 [vocab]: what follows the last token. Undefined before the first prompt(), and after
  // steps() that ended before `most` on an asynchronous device.
  const Buffer& logits() const { return logits_; }

  // Captures the decoding of one token, sampling included, as a graph. The sampler must outlive it.
  // Samples the first token from logits() and returns it; it is not in the caches yet. Throws
  // CommandFailed, as step() does, if all logits are NaN: a broken file, not a text.
  int32_t start(Sampler& sampler);
  // Appends the token that start() or the last step() returned and returns the one sampled after
  // it. Throws InvalidArgument if there is no room.
  int32_t step();
  // The same with a token of the caller's choice.
  int32_t step(int32_t token);
  // step() `most` times, or until take(token), called with what each returned, says false. On an
  // asynchronous device the next tokens are under way meanwhile; those beyond the last that was
  // taken are taken back from the caches, but the sampler has drawn up to kAhead more. Throws as
  // step() does, and then as many tokens were appended as were taken.
  void steps(size_t most, const std::function<bool(int32_t token)>& take);

  // Takes back the last `tokens` tokens. Throws InvalidArgument for more than there are, or if the
  // position would fall more than kMaxRewind below the furthest that was reached: the keys before
  // are overwritten.
  void rewind(uint32_t tokens);
  // Forgets all tokens.
  void reset();

  // Graph::describe() of the decode graph, after start().
  const std::string& describe_graph() const;

 private:
  struct Activations {  // f32 [rows, ...] unless said otherwise
    Buffer x, h, q, k, v, attn, proj, gate, up;
    Buffer k16, v16;                   // f16: what the caches store
    Buffer rope_global, rope_sliding;  // [rows, 2, head_dim / 2]
  };
  struct Cache {
    Buffer k, v;  // f16 [num_kv_heads, capacity, head_dim]
  };
  // What the decode graph works on.
  struct DecodeState {
    // ops/advance rewrites these once per token.
    Buffer step;         // u32 [2]: position and id of the token being processed
    Buffer attn_global;  // u32 [9]: FlashAttnVecParams
    Buffer attn_sliding;
    Buffer log;  // i64 [2 kAhead]: the tokens of the latest positions, on an asynchronous device
    // f32, one token's.
    std::array<Buffer, 2> x;  // the residual stream, by turns
    Buffer q, k, v, attn, proj, act;
    Buffer rope_global, rope_sliding;  // [1, 2, head_dim / 2]
  };
  // How many tokens a forward pass takes and where they stand.
  struct Batch {
    uint32_t tokens;
    uint32_t position;
    Buffer ids;  // i32 [tokens]
  };

  Activations make_activations(uint32_t rows) const;
  void forward(CommandEncoder& encoder, const Activations& a, const Batch& batch) const;
  void attention(CommandEncoder& encoder, const Activations& a, const Batch& batch,
                 uint32_t layer) const;
  void feed_forward(CommandEncoder& encoder, const Activations& a, uint32_t layer) const;
  void head(CommandEncoder& encoder, const Buffer& x, const Buffer& h, const Buffer& logits) const;
  DecodeState make_decode_state() const;
  void decode(CommandEncoder& encoder) const;
  void run_batch(std::span<const int32_t> tokens,
                 const std::function<void(CommandEncoder&, const Activations&)>& then);
  void check_tokens(std::span<const int32_t> tokens) const;
  void write_decode_state();
  int32_t sampled_token() const;
  int32_t taken_token(uint32_t position);
  void check_logits() const;

  Device device_;
  Config config_;
  Weights weights_;
  Weights one_token_weights_;  // the same in the form that decoding reads
  uint32_t context_;
  uint32_t sliding_capacity_;
  uint32_t prompt_batch_;
  decant::Activations activations_;
  uint32_t position_ = 0;
  uint32_t furthest_ = 0;      // highest position since reset()
  std::vector<Cache> caches_;  // per layer
  Activations prompt_acts_;
  CommandEncoder encoder_;
  Buffer prompt_ids_;  // i32 [prompt_batch]
  Buffer logits_;      // f32 [vocab]
  Buffer next_token_;  // i32 [1]
  DecodeState decode_;
  bool decode_state_current_ = false;  // the device's position is position_ - 1
  std::optional<Graph> graph_;
};

}  // namespace decant::gemma3

#endif  // DECANT_MODELS_GEMMA3_MODEL_H_
