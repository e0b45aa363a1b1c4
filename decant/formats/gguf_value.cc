#include "decant/formats/gguf_value.h"

#include <algorithm>

namespace decant {
namespace {

template <typename T>
void append_numbers(std::string& text, std::span<const std::byte> bytes, size_t count) {
  const GgufArray<T> values(bytes);
  for (size_t i = 0; i < count; ++i) {
    if (i) text += ", ";
    if constexpr (std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t>)
      text += fmt::format("{}", int{values[i]});
    else
      text += fmt::format("{}", values[i]);
  }
}

void append(std::string& text, GgufType type, std::span<const std::byte> bytes, size_t count) {
  switch (type) {
    case GgufType::kU8:
      return append_numbers<uint8_t>(text, bytes, count);
    case GgufType::kI8:
      return append_numbers<int8_t>(text, bytes, count);
    case GgufType::kU16:
      return append_numbers<uint16_t>(text, bytes, count);
    case GgufType::kI16:
      return append_numbers<int16_t>(text, bytes, count);
    case GgufType::kU32:
      return append_numbers<uint32_t>(text, bytes, count);
    case GgufType::kI32:
      return append_numbers<int32_t>(text, bytes, count);
    case GgufType::kF32:
      return append_numbers<float>(text, bytes, count);
    case GgufType::kBool:
      return append_numbers<bool>(text, bytes, count);
    case GgufType::kU64:
      return append_numbers<uint64_t>(text, bytes, count);
    case GgufType::kI64:
      return append_numbers<int64_t>(text, bytes, count);
    case GgufType::kF64:
      return append_numbers<double>(text, bytes, count);
    case GgufType::kString: {
      auto it = GgufArray<std::string_view>(bytes, count).begin();
      for (size_t i = 0; i < count; ++i, ++it) text += (i ? ", " : "") + gguf_quoted(*it);
      return;
    }
    case GgufType::kArray:
      return;  // arrays of arrays are not parsed
  }
}

}  // namespace

std::string_view GgufArray<std::string_view>::iterator::operator*() const {
  uint64_t length = 0;
  const bool whole = rest_.size() >= sizeof length;
  if (whole) std::memcpy(&length, rest_.data(), sizeof length);
  if (!whole || length > rest_.size() - sizeof length)
    fail(ErrorKind::kGgufParse, "string {} of an array: the file was changed while it was in use",
         index_);
  return {reinterpret_cast<const char*>(rest_.data() + sizeof length), length};
}

std::string GgufValue::type_name() const {
  if (type_ != GgufType::kArray) return std::string(decant::to_string(type_));
  return fmt::format("array of {}", decant::to_string(element_type_));
}

std::string GgufValue::to_string(size_t max_elements) const {
  if (type_ == GgufType::kString) return gguf_quoted(load<std::string_view>());
  std::string text;
  if (type_ != GgufType::kArray) {
    append(text, type_, bytes_, 1);
    return text;
  }
  text = "[";
  const size_t shown = std::min(count_, max_elements);
  append(text, element_type_, bytes_, shown);
  if (shown < count_) text += fmt::format("{}... {} in all", shown ? ", " : "", count_);
  return text + "]";
}

std::string gguf_quoted(std::string_view text) {
  constexpr size_t kShown = 100;
  std::string quoted = "'";
  for (size_t i = 0; i < std::min(text.size(), kShown); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // Bytes from 0x80 on stay: they belong to UTF-8 characters in any sane file.
    if (c < 0x20 || c == 0x7F)
      quoted += fmt::format("\\x{:02x}", c);
    else
      quoted += text[i];
  }
  if (text.size() > kShown) quoted += fmt::format("... {} bytes in all", text.size());
  return quoted + "'";
}

}  // namespace decant
