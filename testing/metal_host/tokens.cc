#include "testing/metal_host/tokens.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace decant::metal_host {
namespace {

bool starts_identifier(char c) { return std::isalpha(static_cast<unsigned char>(c)) || c == '_'; }
bool continues_identifier(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}
bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)); }

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::vector<Token> run() {
    std::vector<Token> tokens;
    while (true) {
      std::string space = take_space();
      if (at_ == text_.size()) break;
      Token token{TokenKind::kPunctuation, std::move(space), "", file_, line_};
      const size_t start = at_;
      token.kind = scan();
      token.text = text_.substr(start, at_ - start);
      line_ += static_cast<int>(std::count(token.text.begin(), token.text.end(), '\n'));
      if (token.kind == TokenKind::kDirective) note_marker(token.text);
      tokens.push_back(std::move(token));
    }
    return tokens;
  }

 private:
  char peek(size_t ahead = 0) const {
    return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
  }

  std::string take_space() {
    const size_t start = at_;
    while (at_ < text_.size()) {
      if (std::isspace(static_cast<unsigned char>(peek()))) {
        ++at_;
      } else if (peek() == '/' && peek(1) == '/') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (peek() == '/' && peek(1) == '*') {
        const size_t end = text_.find("*/", at_ + 2);
        at_ = end == std::string_view::npos ? text_.size() : end + 2;
      } else {
        break;
      }
    }
    std::string space(text_.substr(start, at_ - start));
    line_ += static_cast<int>(std::count(space.begin(), space.end(), '\n'));
    starts_line_ = starts_line_ || space.find('\n') != std::string::npos;
    return space;
  }

  TokenKind scan() {
    const bool starts_line = starts_line_;
    starts_line_ = false;
    const char c = peek();
    if (c == '#' && starts_line) {
      at_ = std::min(text_.find('\n', at_), text_.size());
      return TokenKind::kDirective;
    }
    if (starts_identifier(c)) {
      while (continues_identifier(peek())) ++at_;
      return TokenKind::kIdentifier;
    }
    if (is_digit(c) || (c == '.' && is_digit(peek(1)))) {
      while (continues_identifier(peek()) || peek() == '.' || peek() == '\'' ||
             ((peek() == '+' || peek() == '-') && ends_in_exponent()))
        ++at_;
      return TokenKind::kNumber;
    }
    if (c == '"' || c == '\'') {
      ++at_;
      while (at_ < text_.size() && peek() != c) at_ += peek() == '\\' ? 2 : 1;
      at_ = std::min(at_ + 1, text_.size());
      return TokenKind::kString;
    }
    // Only what the rewrite looks at has to be one token; << stays two.
    static constexpr std::string_view kPairs[] = {"::", "->", "&&", "||", "==", "!=", "<=", ">=",
                                                  "+=", "-=", "*=", "/=", "%=", "|=", "&=", "^="};
    const std::string_view pair = text_.substr(at_, 2);
    at_ += std::find(std::begin(kPairs), std::end(kPairs), pair) != std::end(kPairs) ? 2 : 1;
    return TokenKind::kPunctuation;
  }

  bool ends_in_exponent() const {
    const char before = text_[at_ - 1];
    return before == 'e' || before == 'E' || before == 'p' || before == 'P';
  }

  // # 12 "file" flags: the next line is line 12.
  void note_marker(const std::string& text) {
    if (text.size() < 3 || text[1] != ' ' || !is_digit(text[2])) return;
    line_ = std::atoi(text.c_str() + 2) - 1;
    const size_t open = text.find('"'), close = text.rfind('"');
    if (open < close) file_ = text.substr(open + 1, close - open - 1);
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  std::string file_;
  bool starts_line_ = true;
};

}  // namespace

std::vector<Token> tokenize(std::string_view text) { return Scanner(text).run(); }

std::string print(const std::vector<Token>& tokens) {
  std::string text;
  for (const Token& token : tokens) {
    text += token.space;
    text += token.text;
  }
  text += '\n';
  return text;
}

size_t matching(const std::vector<Token>& tokens, size_t open) {
  int depth = 0;
  for (size_t i = open; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (token.kind != TokenKind::kPunctuation) continue;
    if (token.is("(") || token.is("[") || token.is("{")) ++depth;
    if (token.is(")") || token.is("]") || token.is("}")) --depth;
    if (depth == 0) return i;
  }
  return tokens.size();
}

size_t matching_angle(const std::vector<Token>& tokens, size_t open) {
  int depth = 0;
  for (size_t i = open; i < tokens.size(); ++i) {
    const Token& token = tokens[i];
    if (token.is("(") || token.is("[") || token.is("{")) i = matching(tokens, i);
    if (token.is(";")) break;
    if (token.is("<")) ++depth;
    if (token.is(">") && --depth == 0) return i;
  }
  return tokens.size();
}

}  // namespace decant::metal_host
