// UTF-8 validation, whole and byte by byte (Unicode 15, section 3.9: no surrogates, no overlong
// forms, nothing above U+10FFFF).
#ifndef DECANT_TEXT_UTF8_H_
#define DECANT_TEXT_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace decant {

// Offset of the first byte that does not begin or continue a valid sequence, or npos.
size_t find_invalid_utf8(std::string_view text);

// Turns bytes that arrive in any portions into valid UTF-8: whole characters are passed on, each
// maximal invalid part becomes one U+FFFD, and an unfinished character waits for its rest.
class Utf8Stream {
 public:
  void push(std::string_view bytes, std::string& out);
  // The text ends here: an unfinished character becomes U+FFFD.
  void flush(std::string& out);

 private:
  char pending_[4] = {};
  size_t pending_size_ = 0;
};

}  // namespace decant

#endif  // DECANT_TEXT_UTF8_H_
