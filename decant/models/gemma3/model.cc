#include "decant/models/gemma3/model.h"

#include <algorithm>
#include <cmath>

#include "decant/core/error.h"
#include "decant/kernels/attention.h"
#include "decant/ops/advance/advance.h"
#include "decant/ops/advance/params.h"
#include "decant/ops/flash_attn_vec/params.h"

namespace decant::gemma3 {
namespace {

// Rows of logits that evaluate() computes at once: 32 rows of Gemma's vocabulary are 34 MB.
constexpr uint32_t kEvaluateRows = 32;

uint32_t context_of(const ModelOptions& options, const Config& config) {
  const uint32_t context = options.context ? options.context : config.context;
  require(context <= config.context,
          "gemma3: context: must be at most the model's {} tokens, got {}", config.context,
          context);
  return context;
}

}  // namespace

Model::Model(const Device& device, const GgufFile& file, const ModelOptions& options)
    : device_(device),
      config_(config_from(file)),
      weights_(load_weights(device, file, config_)),
      one_token_weights_(options.activations == decant::Activations::kQ8
                             ? packed_weights(device, file, weights_)
                             : weights_),
      context_(context_of(options, config_)),
      sliding_capacity_(std::min(config_.sliding_window + kMaxRewind, context_)),
      prompt_batch_(std::min(options.prompt_batch, context_)),
      activations_(options.activations),
      encoder_(device) {
  require(options.prompt_batch > 0, "gemma3: prompt_batch: must be at least 1, got 0");
  for (uint32_t layer = 0; layer < config_.layers; ++layer) {
    const uint32_t slots = config_.global[layer] ? context_ : sliding_capacity_;
    const Shape shape{config_.num_kv_heads, slots, config_.head_dim};
    caches_.push_back({device.buffer(DType::kF16, shape), device.buffer(DType::kF16, shape)});
  }
  prompt_acts_ = make_activations(prompt_batch_);
  prompt_ids_ = device.buffer(DType::kI32, {prompt_batch_});
  logits_ = device.buffer(DType::kF32, {config_.vocab});
  next_token_ = device.buffer(DType::kI32, {1});
  decode_ = make_decode_state();
}

Model::Activations Model::make_activations(uint32_t rows) const {
  const auto f32 = [&](uint64_t width) {
    return device_.buffer(DType::kF32, {rows, width}, Usage::kScratch);
  };
  const auto f16 = [&] {
    return device_.buffer(DType::kF16, {rows, config_.num_kv_heads, config_.head_dim},
                          Usage::kScratch);
  };
  const auto rope = [&] {
    return device_.buffer(DType::kF32, {rows, 2, config_.head_dim / 2}, Usage::kScratch);
  };
  return {.x = f32(config_.hidden),
          .h = f32(config_.hidden),
          .q = f32(config_.q_dim()),
          .k = f32(config_.kv_dim()),
          .v = f32(config_.kv_dim()),
          .attn = f32(config_.q_dim()),
          .proj = f32(config_.hidden),
          .gate = f32(config_.feed_forward),
          .up = f32(config_.feed_forward),
          .k16 = f16(),
          .v16 = f16(),
          .rope_global = rope(),
          .rope_sliding = rope()};
}

Model::DecodeState Model::make_decode_state() const {
  const auto u32 = [&](size_t bytes) { return device_.buffer(DType::kU32, {bytes / 4}); };
  const auto f32 = [&](const Shape& shape) {
    return device_.buffer(DType::kF32, shape, Usage::kScratch);
  };
  return {.step = u32(sizeof(DecodeStep)),
          .attn_global = u32(sizeof(FlashAttnVecParams)),
          .attn_sliding = u32(sizeof(FlashAttnVecParams)),
          .log = device_.info().asynchronous
                     ? device_.buffer(DType::kI64, {2 * kAhead}, Usage::kHostVisible)
                     : Buffer{},
          .x = {f32({config_.hidden}), f32({config_.hidden})},
          .q = f32({config_.q_dim()}),
          .k = f32({config_.kv_dim()}),
          .v = f32({config_.kv_dim()}),
          .attn = f32({config_.q_dim()}),
          .proj = f32({config_.hidden}),
          .act = f32({config_.feed_forward}),
          .rope_global = f32({1, 2, config_.head_dim / 2}),
          .rope_sliding = f32({1, 2, config_.head_dim / 2})};
}

void Model::check_tokens(std::span<const int32_t> tokens) const {
  require(!tokens.empty(), "gemma3: tokens: expected at least one, got none");
  require(tokens.size() <= room(),
          "gemma3: tokens: {} do not fit: {} of the context's {} are taken", tokens.size(),
          position_, context_);
  for (size_t i = 0; i < tokens.size(); ++i)
    require(tokens[i] >= 0 && static_cast<uint32_t>(tokens[i]) < config_.vocab,
            "gemma3: tokens: id must be 0 to {}, got {} at {}", config_.vocab - 1, tokens[i], i);
}

void Model::run_batch(std::span<const int32_t> tokens,
                      const std::function<void(CommandEncoder&, const Activations&)>& then) {
  const auto n = static_cast<uint32_t>(tokens.size());
  const Activations& full = prompt_acts_;
  const Activations a{.x = full.x.rows(0, n),
                      .h = full.h.rows(0, n),
                      .q = full.q.rows(0, n),
                      .k = full.k.rows(0, n),
                      .v = full.v.rows(0, n),
                      .attn = full.attn.rows(0, n),
                      .proj = full.proj.rows(0, n),
                      .gate = full.gate.rows(0, n),
                      .up = full.up.rows(0, n),
                      .k16 = full.k16.rows(0, n),
                      .v16 = full.v16.rows(0, n),
                      .rope_global = full.rope_global.rows(0, n),
                      .rope_sliding = full.rope_sliding.rows(0, n)};
  const Buffer ids = prompt_ids_.rows(0, n);
  device_.write(ids, std::as_bytes(tokens));
  forward(encoder_, a, {.tokens = n, .position = position_, .ids = ids});
  if (then) then(encoder_, a);
  encoder_.commit_and_wait();
  position_ += n;
  decode_state_current_ = false;
}

void Model::prompt(std::span<const int32_t> tokens) {
  check_tokens(tokens);
  while (!tokens.empty()) {
    const size_t n = std::min<size_t>(tokens.size(), prompt_batch_);
    const bool last = n == tokens.size();
    run_batch(tokens.first(n), [&](CommandEncoder& encoder, const Activations& a) {
      if (last)
        head(encoder, a.x.rows(n - 1, 1), a.h.rows(n - 1, 1), logits_.reshape({1, config_.vocab}));
    });
    tokens = tokens.subspan(n);
  }
}

void Model::evaluate(std::span<const int32_t> tokens, size_t first,
                     const std::function<void(size_t, std::span<const float>)>& row) {
  check_tokens(tokens);
  const uint64_t vocab = config_.vocab;
  const Buffer some = device_.buffer(DType::kF32, {kEvaluateRows, vocab}, Usage::kScratch);
  std::vector<float> values(kEvaluateRows * vocab);
  for (size_t begin = 0; begin < tokens.size(); begin += prompt_batch_) {
    const size_t n = std::min<size_t>(tokens.size() - begin, prompt_batch_);
    run_batch(tokens.subspan(begin, n), nullptr);
    for (size_t r = std::max(first, begin); r < begin + n;) {
      const size_t count = std::min<size_t>(begin + n - r, kEvaluateRows);
      const Buffer logits = some.rows(0, count);
      head(encoder_, prompt_acts_.x.rows(r - begin, count), prompt_acts_.h.rows(r - begin, count),
           logits);
      encoder_.commit_and_wait();
      const std::span<float> got = std::span(values).first(count * vocab);
      device_.read(logits, std::as_writable_bytes(got));
      for (size_t i = 0; i < count; ++i) row(r + i, got.subspan(i * vocab, vocab));
      r += count;
    }
  }
}

int32_t Model::start(Sampler& sampler) {
  require(position_ > 0, "gemma3: start: needs a prompt first");
  sampler.record(encoder_, logits_, next_token_);
  encoder_.commit_and_wait();
  // Parameters of decoding live on the device and the graph is the same for every position.
  graph_ = Graph::capture(device_, [&](CommandEncoder& encoder) {
    decode(encoder);
    sampler.record(encoder, logits_, next_token_);
  });
  decode_state_current_ = false;
  return sampled_token();
}

int32_t Model::step() {
  require(graph_.has_value(), "gemma3: step: call start() first");
  require(room() > 0, "gemma3: step: the context's {} tokens are full", context_);
  if (!decode_state_current_) write_decode_state();
  graph_->replay_and_wait();
  position_ += 1;
  return sampled_token();
}

int32_t Model::sampled_token() const {
  int32_t token = 0;
  device_.read(next_token_, std::as_writable_bytes(std::span(&token, 1)));
  // What sampling answers when every logit is NaN, and hardly ever else.
  if (token == 0) check_logits();
  return token;
}

void Model::check_logits() const {
  float logit = 0;
  device_.read(logits_.rows(0, 1), std::as_writable_bytes(std::span(&logit, 1)));
  if (std::isnan(logit))
    fail(ErrorKind::kCommandFailed,
         "gemma3: the logits after token {} are NaN; is the file damaged?", position_);
}

// The token that the graph takes, or took, at a position; waits until it does.
int32_t Model::taken_token(uint32_t position) {
  for (;;) {
    // In this order: when all is done, the log is complete.
    const bool done = graph_->done();
    if (const std::optional<int32_t> token = logged_token(decode_.log, position)) return *token;
    require(!done, "gemma3: the graph took no token at position {}", position);
  }
}

void Model::steps(size_t most, const std::function<bool(int32_t token)>& take) {
  if (!device_.info().asynchronous) {
    while (most-- > 0 && take(step())) {
    }
    return;
  }
  require(graph_.has_value(), "gemma3: steps: call start() first");
  require(most <= room(), "gemma3: steps: {} tokens do not fit: {} of the context's {} are taken",
          most, position_, context_);
  if (most == 0) return;
  if (!decode_state_current_) write_decode_state();
  // Run i appends the token of position first + i, which the log tells, and samples the next one.
  const uint32_t first = position_;
  uint32_t started = 0, taken = 0;
  static_assert(kAhead <= kMaxRewind);
  const auto start_some = [&] {
    for (; started < most && started < taken + kAhead; ++started) graph_->replay();
  };
  const auto end = [&](int32_t last) {
    graph_->wait();
    position_ = first + started;
    if (started == taken) return;
    rewind(started - taken);
    device_.write(next_token_, std::as_bytes(std::span(&last, 1)));
  };
  int32_t token = 0;
  try {
    for (bool more = true; more;) {
      start_some();
      const bool last = taken + 1 == started;
      if (last)
        graph_->wait();
      else
        token = taken_token(first + taken + 1);
      position_ = first + ++taken;
      if (last) token = sampled_token();
      if (!last && token == 0) {
        graph_->wait();
        check_logits();
      }
      more = take(token) && taken < most;
    }
  } catch (...) {
    end(token);
    throw;
  }
  end(token);
}

int32_t Model::step(int32_t token) {
  require(graph_.has_value(), "gemma3: step: call start() first");
  check_tokens({&token, 1});
  device_.write(next_token_, std::as_bytes(std::span(&token, 1)));
  return step();
}

void Model::write_decode_state() {
  // What was taken back, or another text, may have had other tokens there.
  if (decode_.log) device_.write(decode_.log, std::vector<std::byte>(decode_.log.byte_len()));
  // advance() increments before use; position 0 starts from 2^32 - 1.
  const DecodeStep step{.position = position_ - 1, .token = 0};
  device_.write(decode_.step, std::as_bytes(std::span(&step, 1)));
  for (const bool global : {true, false}) {
    const FlashAttnVecParams params{
        .num_heads = config_.num_heads,
        .num_kv_heads = config_.num_kv_heads,
        .head_dim = config_.head_dim,
        .kv_seq_len = 0,
        .kv_capacity = global ? context_ : sliding_capacity_,
        .scale = config_.attn_scale,
        .mask_type = static_cast<uint32_t>(global ? AttnMask::kCausal : AttnMask::kSlidingWindow),
        .sliding_window = global ? 0 : config_.sliding_window,
        .ring_start = 0};
    device_.write(global ? decode_.attn_global : decode_.attn_sliding,
                  std::as_bytes(std::span(&params, 1)));
  }
  decode_state_current_ = true;
}

void Model::rewind(uint32_t tokens) {
  furthest_ = std::max(furthest_, position_);
  const uint32_t taken_back = furthest_ - position_;
  const uint32_t most = std::min(kMaxRewind - taken_back, position_);
  require(tokens <= most, "gemma3: rewind: at most {} tokens can be taken back, got {}", most,
          tokens);
  position_ -= tokens;
  decode_state_current_ = false;
}

void Model::reset() {
  position_ = furthest_ = 0;
  decode_state_current_ = false;
}

const std::string& Model::describe_graph() const {
  require(graph_.has_value(), "gemma3: describe_graph: call start() first");
  return graph_->describe();
}

}  // namespace decant::gemma3
