// Against the real vocabulary: the file that DECANT_TEST_MODEL names, any Gemma 3 GGUF.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "decant/formats/gguf.h"
#include "decant/text/tokenizer.h"

namespace decant {
namespace {

class TokenizerModelTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    const char* path = std::getenv("DECANT_TEST_MODEL");
    if (!path || !*path) return;
    const auto begin = std::chrono::steady_clock::now();
    tokenizer.emplace(Tokenizer::from_gguf(GgufFile::open(path)));
    load_seconds = seconds_since(begin);
  }
  static void TearDownTestSuite() { tokenizer.reset(); }
  void SetUp() override {
    if (!tokenizer)
      GTEST_SKIP() << "DECANT_TEST_MODEL names no Gemma 3 GGUF: the real vocabulary is NOT tested";
  }
  static double seconds_since(std::chrono::steady_clock::time_point begin) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }

  static inline std::optional<Tokenizer> tokenizer;
  static inline double load_seconds = 0;
};

TEST_F(TokenizerModelTest, LlamaCppsIds) {
  const auto path =
      std::filesystem::path(__FILE__).parent_path() / "testdata" / "tokenizer_fixtures.json";
  std::ifstream file(path);
  ASSERT_TRUE(file) << path;
  const nlohmann::json cases = nlohmann::json::parse(file).at("cases");
  ASSERT_GT(cases.size(), 80u);
  for (const nlohmann::json& c : cases) {
    SCOPED_TRACE(c.at("name").get<std::string>());
    const auto text = c.at("text").get<std::string>();
    const auto want = c.at("ids").get<std::vector<int32_t>>();
    const std::vector<int32_t> got = tokenizer->encode(text);
    EXPECT_EQ(got, want);

    // And back, whole and piece by piece, each portion valid in itself.
    const std::span<const int32_t> ids = std::span(got).subspan(1);
    const bool escape = text.find("▁") != std::string::npos;
    if (!escape) {
      EXPECT_EQ(tokenizer->decode(ids, true), text);
    }
    Detokenizer detokenizer(*tokenizer, true);
    std::string streamed;
    for (const int32_t id : ids) {
      const std::string_view portion = detokenizer.push(id);
      EXPECT_EQ(find_invalid_utf8(portion), std::string_view::npos);
      streamed += portion;
    }
    streamed += detokenizer.flush();
    if (!escape) {
      EXPECT_EQ(streamed, text);
    }
  }
}

TEST_F(TokenizerModelTest, SpecialIds) {
  EXPECT_EQ(tokenizer->bos(), 2);
  EXPECT_EQ(tokenizer->eos(), 1);
  EXPECT_EQ(tokenizer->end_of_turn(), 106);
  EXPECT_EQ(tokenizer->piece(107), "\n");
  EXPECT_EQ(tokenizer->type(106), TokenType::kControl);
}

// Generous bounds, for loaded machines and sanitizers; the README has the measured figures.
TEST_F(TokenizerModelTest, LoadsAndEncodesInTime) {
  RecordProperty("load_ms", static_cast<int>(load_seconds * 1e3));
  EXPECT_LT(load_seconds, 10);
  const std::string words = "The quick brown fox jumps over the lazy dog, 12345 times; ";
  std::string prose;
  while (prose.size() < 100'000) prose += words;
  for (const std::string& text : {prose, std::string(100'000, '<'), std::string(100'000, 'a'),
                                  std::string(100'000, ' '), std::string(100'000, '\n')}) {
    const auto begin = std::chrono::steady_clock::now();
    const std::vector<int32_t> ids = tokenizer->encode(text);
    const double seconds = seconds_since(begin);
    RecordProperty(std::string("encode_ms_of_") + std::to_string(text[0]),
                   static_cast<int>(seconds * 1e3));
    EXPECT_LT(seconds, 10);
    EXPECT_EQ(tokenizer->decode(std::span(ids).subspan(1), true), text);
  }
}

}  // namespace
}  // namespace decant
