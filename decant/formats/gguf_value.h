// Metadata values of a GGUF file, as views of its bytes.
#ifndef DECANT_FORMATS_GGUF_VALUE_H_
#define DECANT_FORMATS_GGUF_VALUE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "decant/core/error.h"
#include "decant/formats/gguf_types.h"

namespace decant {

// The GGUF type that holds T.
template <typename T>
constexpr GgufType gguf_type_of() {
  if constexpr (std::is_same_v<T, bool>)
    return GgufType::kBool;
  else if constexpr (std::is_same_v<T, std::string_view>)
    return GgufType::kString;
  else if constexpr (std::is_same_v<T, float>)
    return GgufType::kF32;
  else if constexpr (std::is_same_v<T, double>)
    return GgufType::kF64;
  else {
    static_assert(std::is_integral_v<T> && sizeof(T) <= 8, "no GGUF type holds this type");
    constexpr bool s = std::is_signed_v<T>;
    if constexpr (sizeof(T) == 1)
      return s ? GgufType::kI8 : GgufType::kU8;
    else if constexpr (sizeof(T) == 2)
      return s ? GgufType::kI16 : GgufType::kU16;
    else if constexpr (sizeof(T) == 4)
      return s ? GgufType::kI32 : GgufType::kU32;
    else
      return s ? GgufType::kI64 : GgufType::kU64;
  }
}

// An array of numbers or bools where it lies in the file, at any alignment: elements are copied out
// one by one, never referred to.
template <typename T>
class GgufArray {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using pointer = const T*;
    using reference = T;
    iterator() = default;
    explicit iterator(const std::byte* at) : at_(at) {}
    T operator*() const { return load(at_); }
    iterator& operator++() { return at_ += sizeof(T), *this; }
    iterator operator++(int) { return iterator(std::exchange(at_, at_ + sizeof(T))); }
    bool operator==(const iterator&) const = default;

   private:
    const std::byte* at_ = nullptr;
  };

  GgufArray() = default;
  explicit GgufArray(std::span<const std::byte> bytes) : bytes_(bytes) {}
  size_t size() const { return bytes_.size() / sizeof(T); }
  bool empty() const { return bytes_.empty(); }
  T operator[](size_t i) const {
    require(i < size(), "GgufArray: index {} of {} elements", i, size());
    return load(bytes_.data() + i * sizeof(T));
  }
  iterator begin() const { return iterator(bytes_.data()); }
  iterator end() const { return iterator(bytes_.data() + size() * sizeof(T)); }

 private:
  static_assert(std::is_arithmetic_v<T>);
  static T load(const std::byte* at) {
    if constexpr (std::is_same_v<T, bool>) {
      return *at != std::byte{0};
    } else {
      T value;
      std::memcpy(&value, at, sizeof value);
      return value;
    }
  }
  std::span<const std::byte> bytes_;
};

// An array of strings: each a length of 8 bytes and that many bytes, so it is read front to back.
// The strings point into the file.
template <>
class GgufArray<std::string_view> {
 public:
  class iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = const std::string_view*;
    using reference = std::string_view;
    iterator() = default;
    iterator(std::span<const std::byte> rest, size_t index) : rest_(rest), index_(index) {}
    // Checks the length anew: whoever can write to a mapped file can change it after parsing.
    std::string_view operator*() const;
    iterator& operator++() {
      rest_ = rest_.subspan(sizeof(uint64_t) + (**this).size());
      ++index_;
      return *this;
    }
    iterator operator++(int) {
      iterator old = *this;
      ++*this;
      return old;
    }
    bool operator==(const iterator& other) const { return index_ == other.index_; }

   private:
    std::span<const std::byte> rest_;
    size_t index_ = 0;
  };

  GgufArray() = default;
  GgufArray(std::span<const std::byte> bytes, size_t count) : bytes_(bytes), count_(count) {}
  size_t size() const { return count_; }
  bool empty() const { return count_ == 0; }
  iterator begin() const { return {bytes_, 0}; }
  iterator end() const { return {{}, count_}; }

 private:
  std::span<const std::byte> bytes_;
  size_t count_ = 0;
};

// A value of any type. The parser has checked that its bytes are what the type says.
class GgufValue {
 public:
  // `bytes` is the payload: of a string its characters, of an array its elements.
  GgufValue(GgufType type, std::span<const std::byte> bytes) : bytes_(bytes), type_(type) {}
  GgufValue(GgufType element_type, size_t count, std::span<const std::byte> elements)
      : bytes_(elements), count_(count), type_(GgufType::kArray), element_type_(element_type) {}

  GgufType type() const { return type_; }
  GgufType element_type() const { return element_type_; }  // of an array
  size_t size() const { return count_; }                   // elements of an array, 1 otherwise
  std::string type_name() const;                           // "u32", "array of string"
  std::span<const std::byte> bytes() const { return bytes_; }

  // For display: numbers plain, strings quoted, escaped and cut, arrays as their first elements.
  std::string to_string(size_t max_elements = 4) const;

  // The value as T; the types must be the same.
  template <typename T>
  T load() const {
    if constexpr (std::is_same_v<T, std::string_view>)
      return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
    else
      return GgufArray<T>(bytes_)[0];
  }

 private:
  std::span<const std::byte> bytes_;
  size_t count_ = 1;
  GgufType type_;
  GgufType element_type_ = GgufType::kU8;
};

// `text` in single quotes for a message: unprintable bytes escaped, at most 100 shown.
std::string gguf_quoted(std::string_view text);

}  // namespace decant

#endif  // DECANT_FORMATS_GGUF_VALUE_H_
