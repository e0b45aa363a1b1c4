#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "decant/core/error.h"
#include "decant/formats/gguf.h"
#include "decant/text/tokenizer.h"
#include "testing/gguf_builder.h"

namespace decant {
namespace {

using ::testing::ElementsAre;
using testing::GgufBuilder;
using ::testing::HasSubstr;

// What the metadata may lack or hold otherwise.
struct Metadata {
  std::optional<std::string_view> model = "llama";
  std::vector<std::string_view> tokens = {"<pad>", "<eos>", "<bos>", "<unk>", "<end_of_turn>",
                                          "  ",    "h",     "e",     "he"};
  std::optional<std::vector<float>> scores = std::vector<float>{-9, -9, -9, -9, -9, -9, -2, -3, -1};
  std::vector<int32_t> types = {3, 3, 3, 3, 3, 4, 1, 1, 1};
  uint32_t bos = 2;
  std::optional<uint32_t> end_of_turn{};
  std::optional<bool> add_bos{}, space_prefix{};

  Tokenizer tokenizer() const {
    GgufBuilder b;
    if (model) b.add("tokenizer.ggml.model", *model);
    b.add_array("tokenizer.ggml.tokens", tokens);
    if (scores) b.add_array("tokenizer.ggml.scores", *scores);
    b.add_array("tokenizer.ggml.token_type", types);
    b.add("tokenizer.ggml.bos_token_id", bos);
    b.add("tokenizer.ggml.eos_token_id", uint32_t{1});
    b.add("tokenizer.ggml.unknown_token_id", uint32_t{3});
    if (end_of_turn) b.add("tokenizer.ggml.eot_token_id", *end_of_turn);
    if (add_bos) b.add("tokenizer.ggml.add_bos_token", *add_bos);
    if (space_prefix) b.add("tokenizer.ggml.add_space_prefix", *space_prefix);
    const std::vector<std::byte> file = b.build();
    return Tokenizer::from_gguf(GgufFile::parse(file, nullptr, "test.gguf"));
  }
};

TEST(TokenizerGguf, OutlivesTheFile) {
  const Tokenizer tokenizer = Metadata{}.tokenizer();
  EXPECT_THAT(tokenizer.encode("he  h<end_of_turn>"), ElementsAre(2, 8, 5, 6, 4));
  EXPECT_EQ(tokenizer.bos(), 2);
  EXPECT_EQ(tokenizer.eos(), 1);
  EXPECT_EQ(tokenizer.end_of_turn(), 4);
  EXPECT_EQ(tokenizer.vocab_size(), 9);
}

TEST(TokenizerGguf, OptionalKeys) {
  EXPECT_EQ(Metadata{.end_of_turn = 6}.tokenizer().end_of_turn(), 6);
  EXPECT_THAT(Metadata{.add_bos = false}.tokenizer().encode("h"), ElementsAre(6));
  EXPECT_THAT(Metadata{.space_prefix = false}.tokenizer().encode("h"), ElementsAre(2, 6));
  Metadata without;
  without.tokens[4] = "<other>";
  EXPECT_EQ(without.tokenizer().end_of_turn(), -1);
}

TEST(TokenizerGguf, RejectsWhatItCannotUse) {
  const auto rejected = [](const Metadata& metadata, ErrorKind kind, const char* message) {
    try {
      metadata.tokenizer();
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind);
      EXPECT_THAT(e.what(), HasSubstr(message));
    }
  };
  rejected({.model = std::nullopt}, ErrorKind::kGgufParse, "tokenizer.ggml.model");
  rejected({.model = "gpt2"}, ErrorKind::kInvalidArgument,
           "tokenizer: tokenizer.ggml.model: expected 'llama' (SentencePiece), got 'gpt2'");
  rejected({.scores = std::nullopt}, ErrorKind::kGgufParse, "tokenizer.ggml.scores");
  rejected({.scores = std::vector<float>{1}}, ErrorKind::kInvalidArgument,
           "tokenizer: scores: expected 9 as there are pieces, got 1");
  rejected({.bos = 9}, ErrorKind::kInvalidArgument, "tokenizer: bos: expected 0 to 8, got 9");
  rejected({.bos = 0xFFFFFFFF}, ErrorKind::kGgufParse, "tokenizer.ggml.bos_token_id");
  rejected({.space_prefix = true}, ErrorKind::kInvalidArgument, "add_space_prefix");
}

}  // namespace
}  // namespace decant
