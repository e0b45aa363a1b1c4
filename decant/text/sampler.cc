#include "decant/text/sampler.h"

#include <algorithm>

#include "decant/core/error.h"
#include "decant/ops/sample/sample.h"

namespace decant {
namespace {

SampleParams to_params(const SamplerOptions& o) {
  return {.temp = o.temp,
          .top_p = o.top_p,
          .min_p = o.min_p,
          .repeat_penalty = o.repeat_penalty,
          .top_k = static_cast<uint32_t>(o.top_k),
          .repeat_last_n = static_cast<uint32_t>(o.repeat_last_n),
          .seed = o.seed};
}

uint64_t history_capacity(const SamplerOptions& options) {
  options.validate();
  return static_cast<uint64_t>(std::max(options.repeat_last_n, 64));
}

}  // namespace

void SamplerOptions::validate() const {
  require(top_k >= 0, "sampler: top_k: expected >= 0, got {}", top_k);
  require(repeat_last_n >= 0, "sampler: repeat_last_n: expected >= 0, got {}", repeat_last_n);
  check_sample_params(to_params(*this), "sampler");
}

Sampler::Sampler(const Device& device, uint32_t vocab, const SamplerOptions& options)
    : device_(device),
      vocab_(vocab),
      params_(device.buffer(DType::kU8, {sizeof(SampleParams)})),
      history_(device.buffer(DType::kI32, {history_capacity(options)})),
      state_(device.buffer(DType::kI64, {sizeof(SampleState) / sizeof(int64_t)})),
      workspace_(device.buffer(DType::kU8, {sample_workspace_bytes(vocab)})) {
  set_options(options);
}

void Sampler::record(CommandEncoder& encoder, const Buffer& logits, const Buffer& token) {
  require(logits.elements() == vocab_, "sampler: logits: expected {} elements, got {}", vocab_,
          logits.elements());
  sample(encoder, {.logits = logits,
                   .token = token,
                   .history = history_,
                   .state = state_,
                   .params_buffer = params_,
                   .workspace = workspace_});
}

void Sampler::accept(std::span<const int32_t> ids) {
  for (const int32_t id : ids)
    require(id >= 0 && static_cast<uint32_t>(id) < vocab_, "sampler: id: expected 0 to {}, got {}",
            vocab_ - 1, id);
  const uint64_t capacity = history_.elements();
  SampleState state = read_state();
  // Only the last `capacity` of them will be remembered.
  const size_t skipped = ids.size() - std::min<size_t>(ids.size(), capacity);
  for (size_t i = skipped; i < ids.size(); ++i)
    device_.write(history_.rows((state.history_length + i) % capacity, 1),
                  std::as_bytes(ids.subspan(i, 1)));
  state.history_length += ids.size();
  write_state(state);
}

void Sampler::set_options(const SamplerOptions& options) {
  options.validate();
  require(static_cast<uint64_t>(options.repeat_last_n) <= history_.elements(),
          "sampler: repeat_last_n: expected at most {} as the history was made for, got {}",
          history_.elements(), options.repeat_last_n);
  options_ = options;
  const SampleParams params = to_params(options);
  device_.write(params_, std::as_bytes(std::span(&params, 1)));
}

void Sampler::reset() { write_state({}); }

void Sampler::write_state(const SampleState& state) {
  device_.write(state_, std::as_bytes(std::span(&state, 1)));
}

SampleState Sampler::read_state() const {
  SampleState state{};
  device_.read(state_, std::as_writable_bytes(std::span(&state, 1)));
  return state;
}

}  // namespace decant
