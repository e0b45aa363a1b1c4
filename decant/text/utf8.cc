#include "decant/text/utf8.h"

#include <algorithm>

namespace decant {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Sequence {
  size_t length;  // bytes that belong together: all of a character, or a maximal invalid part
  enum { kComplete, kUnfinished, kInvalid } state;
};

// What stands at the beginning of a non-empty text. The second byte's range depends on the first:
// table 3-7 of the Unicode standard.
Sequence next_sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, Sequence::kComplete};
  if (lead < 0xC2 || lead > 0xF4) return {1, Sequence::kInvalid};
  const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  const uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {i, Sequence::kUnfinished};
    if (byte(i) < (i == 1 ? low : 0x80) || byte(i) > (i == 1 ? high : 0xBF))
      return {i, Sequence::kInvalid};
  }
  return {length, Sequence::kComplete};
}

}  // namespace

size_t find_invalid_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const Sequence next = next_sequence(text.substr(i));
    if (next.state != Sequence::kComplete) return i;
    i += next.length;
  }
  return std::string_view::npos;
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  // A waiting character takes one byte at a time until it is decided: at most three rounds, and
  // none if nothing waits.
  while (pending_size_ > 0 && !bytes.empty()) {
    pending_[pending_size_] = bytes.front();
    const Sequence next = next_sequence({pending_, pending_size_ + 1});
    if (next.state == Sequence::kInvalid) {
      // The new byte does not continue the character; it may begin another.
      out += kReplacement;
      pending_size_ = 0;
      break;
    }
    bytes.remove_prefix(1);
    ++pending_size_;
    if (next.state == Sequence::kComplete) {
      out.append(pending_, pending_size_);
      pending_size_ = 0;
    }
  }
  while (!bytes.empty()) {
    const Sequence next = next_sequence(bytes);
    if (next.state == Sequence::kUnfinished) {
      std::copy(bytes.begin(), bytes.end(), pending_);
      pending_size_ = bytes.size();
      return;
    }
    if (next.state == Sequence::kComplete)
      out.append(bytes.substr(0, next.length));
    else
      out += kReplacement;
    bytes.remove_prefix(next.length);
  }
}

void Utf8Stream::flush(std::string& out) {
  if (pending_size_ > 0) out += kReplacement;
  pending_size_ = 0;
}

}  // namespace decant
