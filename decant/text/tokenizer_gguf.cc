#include <algorithm>

#include "decant/core/error.h"
#include "decant/formats/gguf.h"
#include "decant/text/tokenizer.h"

namespace decant {

Tokenizer Tokenizer::from_gguf(const GgufFile& file) {
  const auto kind = file.get<std::string_view>("tokenizer.ggml.model");
  require(kind == "llama",
          "tokenizer: tokenizer.ggml.model: expected 'llama' (SentencePiece), got {}",
          gguf_quoted(kind));
  require(!file.get_or<bool>("tokenizer.ggml.add_space_prefix", false),
          "tokenizer: tokenizer.ggml.add_space_prefix: expected false as Gemma has it, got true");

  const auto strings = file.get<GgufArray<std::string_view>>("tokenizer.ggml.tokens");
  const std::vector<std::string_view> pieces(strings.begin(), strings.end());
  const auto file_scores = file.get<GgufArray<float>>("tokenizer.ggml.scores");
  const std::vector<float> scores(file_scores.begin(), file_scores.end());
  const auto file_types = file.get<GgufArray<int32_t>>("tokenizer.ggml.token_type");
  const std::vector<int32_t> types(file_types.begin(), file_types.end());

  int32_t end_of_turn = file.get_or<int32_t>("tokenizer.ggml.eot_token_id", -1);
  if (end_of_turn == -1) {
    // Most files name it only by its piece.
    const auto found = std::find(pieces.begin(), pieces.end(), "<end_of_turn>");
    if (found != pieces.end()) end_of_turn = static_cast<int32_t>(found - pieces.begin());
  }
  return Tokenizer({.pieces = pieces,
                    .scores = scores,
                    .types = types,
                    .bos = file.get<int32_t>("tokenizer.ggml.bos_token_id"),
                    .eos = file.get<int32_t>("tokenizer.ggml.eos_token_id"),
                    .unk = file.get<int32_t>("tokenizer.ggml.unknown_token_id"),
                    .end_of_turn = end_of_turn,
                    .add_bos = file.get_or<bool>("tokenizer.ggml.add_bos_token", true)});
}

}  // namespace decant
