// C++ tokens of preprocessed text. Spelling and the space before each are kept, so that a token
// list always prints as the text it came from.
#ifndef DECANT_TESTING_METAL_HOST_TOKENS_H_
#define DECANT_TESTING_METAL_HOST_TOKENS_H_

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace decant::metal_host {

enum class TokenKind { kIdentifier, kNumber, kString, kPunctuation, kDirective };

struct Token {
  TokenKind kind;
  std::string space;  // before it, comments included
  std::string text;
  std::string file;  // by the line markers that the preprocessor leaves
  int line = 0;

  bool is(std::string_view spelling) const { return text == spelling; }
  bool is_identifier() const { return kind == TokenKind::kIdentifier; }
};

// Directives (line markers, pragmas) are one token a line.
std::vector<Token> tokenize(std::string_view text);
std::string print(const std::vector<Token>& tokens);

// Index of the bracket that closes the one at `open`, which is one of ( [ {. tokens.size() if none.
size_t matching(const std::vector<Token>& tokens, size_t open);
// The same for a template argument list that opens at `open` with <.
size_t matching_angle(const std::vector<Token>& tokens, size_t open);

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_TOKENS_H_
