#include "testing/metal_host/source.h"

#include <fmt/format.h>

#include <utility>

#include "testing/metal_host/rewrite.h"

namespace decant::metal_host {

void fail_at(const Token& at, const std::string& message) {
  throw SourceError(fmt::format("{}:{}: error: {}", at.file, at.line, message));
}

std::string Source::spell(size_t begin, size_t end) const {
  std::string text;
  for (size_t i = begin; i < end; ++i) {
    if (tokens[i].text.empty()) continue;
    if (!text.empty() && !tokens[i].space.empty()) text += ' ';
    text += tokens[i].text;
  }
  return text;
}

void Source::replace(size_t begin, size_t end, std::string text) {
  for (size_t i = begin; i < end; ++i) tokens[i].text.clear();
  tokens[begin].text = std::move(text);
}

std::vector<Attribute> Source::read_attributes(size_t open) const {
  std::vector<Attribute> attributes;
  const size_t end = matching(tokens, open + 1);
  for (size_t i = open + 2; i < end; ++i) {
    if (!tokens[i].is_identifier()) continue;
    Attribute attribute{tokens[i].text, ""};
    if (is(i + 1, "(")) {
      const size_t close = matching(tokens, i + 1);
      for (size_t j = i + 2; j < close; ++j) {
        const Token& token = tokens[j];
        const bool quoted = token.kind == TokenKind::kString;
        attribute.argument += quoted ? token.text.substr(1, token.text.size() - 2) : token.text;
      }
      i = close;
    }
    attributes.push_back(std::move(attribute));
  }
  return attributes;
}

void Source::erase_attributes() {
  for (size_t i = 0; i < tokens.size(); ++i)
    if (is_attribute(i)) {
      const size_t close = matching(tokens, i);
      if (close < tokens.size()) replace(i, close + 1, "");
    }
}

}  // namespace decant::metal_host
