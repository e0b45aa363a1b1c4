// Metal source as the parts of the source step work on it: a list of tokens, changed in place.
#ifndef DECANT_TESTING_METAL_HOST_SOURCE_H_
#define DECANT_TESTING_METAL_HOST_SOURCE_H_

#include <string>
#include <string_view>
#include <vector>

#include "testing/metal_host/tokens.h"

namespace decant::metal_host {

// One attribute of a list [[name(argument), ...]].
struct Attribute {
  std::string name, argument;
};

// Throws SourceError for the line of `at`.
[[noreturn]] void fail_at(const Token& at, const std::string& message);

// An index beyond the last token is none of the questions' answers.
struct Source {
  std::vector<Token> tokens;

  bool is(size_t i, std::string_view text) const { return i < tokens.size() && tokens[i].is(text); }
  bool opens(size_t i) const { return is(i, "(") || is(i, "[") || is(i, "{"); }
  bool is_attribute(size_t i) const { return is(i, "[") && is(i + 1, "["); }

  // Tokens [begin, end) on one line, as an expression or a type.
  std::string spell(size_t begin, size_t end) const;
  // Puts `text` in place of [begin, end). White space stays, and with it every line's number.
  void replace(size_t begin, size_t end, std::string text);

  // Of the list that opens at `open`.
  std::vector<Attribute> read_attributes(size_t open) const;
  void erase_attributes();
};

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_SOURCE_H_
