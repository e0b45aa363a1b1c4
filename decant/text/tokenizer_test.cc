#include "decant/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "decant/core/error.h"

namespace decant {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A small vocabulary in the order of the real one: control, user-defined, bytes, normal.
struct SmallVocabulary {
  std::vector<std::string> texts;
  std::vector<std::string_view> pieces;
  std::vector<float> scores;
  std::vector<int32_t> types;

  SmallVocabulary() {
    for (const char* control :
         {"<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"})
      add(control, TokenType::kControl, -1000);
    for (const char* unit : {"\n", "\n\n", "  ", "   ", "<h1>", " x "})
      add(unit, TokenType::kUserDefined, -1000);
    for (int byte = 0; byte < 256; ++byte)
      add(fmt::format("<0x{:02X}>", byte), TokenType::kByte, -1000);
    // BPE needs each piece to be the merge of two others.
    const char* merges[] = {"he", "ll", "hell", "hello", "▁w", "or", "▁wor", "▁worl", "▁world"};
    float score = 0;
    for (const char* piece : merges) add(piece, TokenType::kNormal, score -= 1);
    for (const char* piece : {"h", "e", "l", "o", "▁", "w", "r", "d", "é"})
      add(piece, TokenType::kNormal, score -= 1);
  }
  void add(std::string text, TokenType type, float score) {
    texts.push_back(std::move(text));
    scores.push_back(score);
    types.push_back(static_cast<int32_t>(type));
  }
  TokenizerModel model() {
    pieces.assign(texts.begin(), texts.end());
    return {.pieces = pieces,
            .scores = scores,
            .types = types,
            .bos = 2,
            .eos = 1,
            .unk = 3,
            .end_of_turn = 5};
  }
  int32_t id(std::string_view text) const {
    const auto found = std::find(texts.begin(), texts.end(), text);
    return found == texts.end() ? -1 : static_cast<int32_t>(found - texts.begin());
  }
};

class TokenizerTest : public ::testing::Test {
 protected:
  SmallVocabulary vocabulary;
  Tokenizer tokenizer{vocabulary.model()};

  int32_t id(std::string_view text) const { return vocabulary.id(text); }
  std::vector<int32_t> encode(std::string_view text) const {
    return tokenizer.encode(text, {.add_bos = false});
  }
};

TEST_F(TokenizerTest, MergesBestScoreFirst) {
  EXPECT_THAT(encode("hello world"), ElementsAre(id("hello"), id("▁world")));
  EXPECT_THAT(encode("hel"), ElementsAre(id("he"), id("l")));
  EXPECT_THAT(encode("w d"), ElementsAre(id("w"), id("▁"), id("d")));
}

TEST_F(TokenizerTest, PrependsBosOnlyIfWanted) {
  EXPECT_THAT(tokenizer.encode(""), ElementsAre(2));
  EXPECT_THAT(tokenizer.encode("h"), ElementsAre(2, id("h")));
  EXPECT_THAT(tokenizer.encode("", {.add_bos = false}), IsEmpty());
  TokenizerModel model = vocabulary.model();
  model.add_bos = false;
  EXPECT_THAT(Tokenizer(model).encode("h"), ElementsAre(id("h")));
}

TEST_F(TokenizerTest, UserDefinedPiecesAreUnits) {
  EXPECT_THAT(encode("h\n\n\no"), ElementsAre(id("h"), id("\n\n"), id("\n"), id("o")));
  // Spaces inside, at both ends, and longest first.
  EXPECT_THAT(encode("h   o"), ElementsAre(id("h"), id("   "), id("o")));
  EXPECT_THAT(encode("h    o"), ElementsAre(id("h"), id("   "), id("▁"), id("o")));
  EXPECT_THAT(encode("h x o"), ElementsAre(id("h"), id(" x "), id("o")));
  EXPECT_THAT(encode("<h1>"), ElementsAre(id("<h1>")));
}

TEST_F(TokenizerTest, ControlPiecesAreParsedOnlyIfWanted) {
  const std::string text = "h<end_of_turn>\n<bos>o";
  EXPECT_THAT(encode(text), ElementsAre(id("h"), 5, id("\n"), 2, id("o")));
  const std::vector<int32_t> plain =
      tokenizer.encode(text, {.add_bos = false, .parse_special = false});
  EXPECT_EQ(std::count(plain.begin(), plain.end(), 5), 0);
  EXPECT_EQ(tokenizer.decode(plain), text);
  EXPECT_THAT(encode("<unk>"), ElementsAre(3));
  EXPECT_THAT(encode("<eos><eos>"), ElementsAre(1, 1));
  // Nearly a control piece, at the end of the text too.
  for (const char* near : {"<bos", "<boss>", "<", "<<bos", "<BOS>"})
    EXPECT_EQ(tokenizer.decode(encode(near)), near);
}

TEST_F(TokenizerTest, ByteFallback) {
  const int32_t zero = id("<0x00>");
  EXPECT_THAT(encode("é"), ElementsAre(id("é")));
  EXPECT_THAT(encode("ß"), ElementsAre(zero + 0xC3, zero + 0x9F));
  EXPECT_THAT(encode("😀"), ElementsAre(zero + 0xF0, zero + 0x9F, zero + 0x98, zero + 0x80));
  EXPECT_THAT(encode(std::string_view("h\0o", 3)), ElementsAre(id("h"), zero, id("o")));
  // Typed out, a byte piece is text.
  EXPECT_GT(encode("<0x41>").size(), 1u);
}

TEST_F(TokenizerTest, DecodesWhatItEncoded) {
  for (const char* text : {"", " ", "hello  world \n\n\n x é ß 😀 <h1>", "   hello", "\t\r\x7f"})
    EXPECT_EQ(tokenizer.decode(encode(text)), text);
}

TEST_F(TokenizerTest, ControlPiecesAreOnlyDecodedIfWanted) {
  const std::vector<int32_t> ids = {2, id("hello"), 5, 3};
  EXPECT_EQ(tokenizer.decode(ids), "hello");
  EXPECT_EQ(tokenizer.decode(ids, true), "<bos>hello<end_of_turn><unk>");
}

TEST_F(TokenizerTest, InvalidUtf8NamesTheByte) {
  struct Case {
    std::string_view text;
    size_t offset;
  };
  for (const Case& c :
       {Case{"ab\xFFz", 2}, Case{"\x80", 0}, Case{"a\xC3", 1}, Case{"\xC0\x80", 0},
        Case{"\xE0\x9F\x80", 0}, Case{"é\xED\xA0\x80", 2}, Case{"\xF4\x90\x80\x80", 0},
        Case{"\xF5\x80\x80\x80", 0}, Case{"<bos>\xE2\x82", 5}}) {
    try {
      tokenizer.encode(c.text);
      ADD_FAILURE() << "accepted " << c.offset;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(e.what(), fmt::format("tokenizer: text: invalid UTF-8 at byte {}", c.offset));
    }
  }
}

TEST_F(TokenizerTest, DetokenizerWaitsForWholeCharacters) {
  Detokenizer detokenizer(tokenizer);
  const int32_t zero = id("<0x00>");
  EXPECT_EQ(detokenizer.push(id("hello")), "hello");
  EXPECT_EQ(detokenizer.push(zero + 0xF0), "");
  EXPECT_EQ(detokenizer.push(zero + 0x9F), "");
  EXPECT_EQ(detokenizer.push(zero + 0x98), "");
  EXPECT_EQ(detokenizer.push(zero + 0x80), "😀");
  EXPECT_EQ(detokenizer.push(id("▁world")), " world");
  EXPECT_EQ(detokenizer.flush(), "");
}

TEST_F(TokenizerTest, DetokenizerReplacesWhatIsNoCharacter) {
  Detokenizer detokenizer(tokenizer);
  const int32_t zero = id("<0x00>");
  EXPECT_EQ(detokenizer.push(zero + 0xE2), "");
  EXPECT_EQ(detokenizer.push(zero + 0x82), "");
  EXPECT_EQ(detokenizer.push(id("h")), "\uFFFDh");
  EXPECT_EQ(detokenizer.push(zero + 0x80), "\uFFFD");
  EXPECT_EQ(detokenizer.push(zero + 0xE2), "");
  EXPECT_EQ(detokenizer.push(zero + 0xC3), "\uFFFD");
  EXPECT_EQ(detokenizer.push(zero + 0x9F), "ß");
  EXPECT_EQ(detokenizer.push(zero + 0xC3), "");
  // A control piece is no text and breaks no character.
  EXPECT_EQ(detokenizer.push(5), "");
  EXPECT_EQ(detokenizer.flush(), "\uFFFD");
  EXPECT_EQ(detokenizer.flush(), "");
  EXPECT_EQ(detokenizer.push(id("o")), "o");
}

TEST_F(TokenizerTest, RejectsIdsOutsideTheVocabulary) {
  const int32_t n = tokenizer.vocab_size();
  EXPECT_EQ(static_cast<size_t>(n), vocabulary.texts.size());
  Detokenizer detokenizer(tokenizer);
  for (const int32_t bad : {-1, n, std::numeric_limits<int32_t>::min()}) {
    EXPECT_THROW(tokenizer.piece(bad), Error);
    EXPECT_THROW(tokenizer.type(bad), Error);
    EXPECT_THROW(tokenizer.decode(std::vector{2, bad}), Error);
    EXPECT_THROW(detokenizer.push(bad), Error);
  }
  EXPECT_EQ(tokenizer.piece(n - 1), "é");
}

TEST_F(TokenizerTest, KnowsTheEnds) {
  EXPECT_TRUE(tokenizer.is_end(1));
  EXPECT_TRUE(tokenizer.is_end(5));
  EXPECT_FALSE(tokenizer.is_end(2));
  EXPECT_FALSE(tokenizer.is_end(-1));
}

TEST_F(TokenizerTest, ChatPrompt) {
  const std::string text = chat_prompt("hello");
  EXPECT_EQ(text, "<start_of_turn>user\nhello<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(encode(text).front(), 4);
}

TEST(Tokenizer, WithoutBytePiecesTheUnknownPieceStandsIn) {
  SmallVocabulary v;
  v.texts.erase(v.texts.begin() + 12, v.texts.begin() + 268);
  v.scores.erase(v.scores.begin() + 12, v.scores.begin() + 268);
  v.types.erase(v.types.begin() + 12, v.types.begin() + 268);
  const Tokenizer tokenizer(v.model());
  EXPECT_THAT(tokenizer.encode("hß", {.add_bos = false}), ElementsAre(v.id("h"), 3));
}

TEST(Tokenizer, RejectsBadVocabularies) {
  const auto rejected = [](auto spoil, const char* message) {
    SmallVocabulary v;
    spoil(v);
    TokenizerModel model = v.model();
    try {
      Tokenizer made(model);
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_THAT(e.what(), HasSubstr(message));
    }
  };
  using V = SmallVocabulary;
  rejected([](V& v) { v.texts[300 - 25].clear(); }, "piece 275 is empty");
  rejected([](V& v) { v.texts[7] = std::string("a\0b", 3); }, "piece 7 contains a NUL");
  rejected([](V& v) { v.texts[6] = v.texts[7]; }, "already defined");
  rejected([](V& v) { v.scores.pop_back(); }, "scores: expected 286 as there are pieces, got 285");
  rejected([](V& v) { v.types.push_back(1); }, "types: expected 286 as there are pieces, got 287");
  rejected([](V& v) { v.scores[9] = NAN; }, "score 9: expected a finite number, got nan");
  rejected([](V& v) { v.types[9] = 7; }, "type 9: expected 1 to 6, got 7");
  rejected([](V& v) { v.types[9] = 0; }, "type 9: expected 1 to 6, got 0");
  rejected([](V& v) { v.types[20] = 1; }, "expected all 256 byte pieces or none, got 255");
  rejected([](V& v) { v.texts[20] = "<0xZZ>"; }, "piece 20: expected a byte like <0x0A>");
  rejected([](V& v) { v.texts[20] = v.texts[21]; }, "piece 21: expected a byte like <0x0A>");
  rejected([](V& v) { v.texts.resize(3), v.scores.resize(3), v.types.resize(3); },
           "unk: expected 0 to 2, got 3");
  rejected([](V& v) { v.texts.clear(), v.scores.clear(), v.types.clear(); },
           "pieces: expected 1 to 2^31-1, got 0");
}

}  // namespace
}  // namespace decant
