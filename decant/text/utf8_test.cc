#include "decant/text/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace decant {
namespace {

std::string stream_all(std::string_view bytes, size_t first, size_t second) {
  Utf8Stream stream;
  std::string out;
  stream.push(bytes.substr(0, first), out);
  EXPECT_EQ(find_invalid_utf8(out), std::string_view::npos);
  stream.push(bytes.substr(first, second - first), out);
  EXPECT_EQ(find_invalid_utf8(out), std::string_view::npos);
  stream.push(bytes.substr(second), out);
  stream.flush(out);
  return out;
}

TEST(Utf8, FindsTheFirstInvalidByte) {
  constexpr size_t kValid = std::string_view::npos;
  EXPECT_EQ(find_invalid_utf8(""), kValid);
  EXPECT_EQ(find_invalid_utf8(std::string_view("a\0b", 3)), kValid);
  // The first and last characters of each length, and around the surrogates.
  EXPECT_EQ(find_invalid_utf8("\x7F\u0080\u07FF\u0800\uD7FF\uE000\uFFFF\U00010000\U0010FFFF"),
            kValid);
  for (const char* bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                          "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF8", "\xFF",
                          "\xC3", "\xE2\x82", "\xF0\x9F\x98", "\xC3(", "\xE2\x82("}) {
    EXPECT_EQ(find_invalid_utf8(bad), 0u);
    EXPECT_EQ(find_invalid_utf8(std::string("aé").append(bad)), 3u);
  }
}

// The example of the Unicode standard, section 3.9: one U+FFFD for each maximal part.
TEST(Utf8, ReplacesMaximalInvalidParts) {
  const std::string_view bytes =
      "a\xF1\x80\x80\xE1\x80\xC2"
      "b\x80"
      "c\x80\xBF"
      "d";
  EXPECT_EQ(stream_all(bytes, 0, 0), "a\uFFFD\uFFFD\uFFFDb\uFFFDc\uFFFD\uFFFDd");
}

TEST(Utf8, PortionsDoNotMatter) {
  std::mt19937 random(1);
  // Bytes that meet each other often.
  const std::string_view alphabet = "az\x80\x9F\xA0\xBF\xC3\xE0\xE2\xED\xEF\xF0\xF4\xFF";
  for (int round = 0; round < 2000; ++round) {
    std::string bytes;
    for (int i = 0; i < 9; ++i) bytes += alphabet[random() % alphabet.size()];
    const std::string whole = stream_all(bytes, 0, 0);
    EXPECT_EQ(find_invalid_utf8(whole), std::string_view::npos);
    if (find_invalid_utf8(bytes) == std::string_view::npos) {
      EXPECT_EQ(whole, bytes);
    }
    for (size_t first = 0; first <= bytes.size(); ++first)
      for (size_t second = first; second <= bytes.size(); ++second)
        ASSERT_EQ(stream_all(bytes, first, second), whole);
  }
}

}  // namespace
}  // namespace decant
