// Reader of GGUF files, versions 2 and 3.
// Source: "GGUF", docs/gguf.md of the ggml repository.
#ifndef DECANT_FORMATS_GGUF_H_
#define DECANT_FORMATS_GGUF_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "decant/core/buffer.h"
#include "decant/core/device.h"
#include "decant/formats/gguf_types.h"
#include "decant/formats/gguf_value.h"
#include "decant/formats/mapped_file.h"

namespace decant {

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

struct GgufTensor {
  std::string_view name;
  Shape shape;                 // outermost first: [rows, columns]; the file stores the reverse
  uint32_t type;               // the file's number
  std::string_view type_name;  // "Q4_K", or "unknown"
  std::optional<DType> dtype;  // none if the library cannot compute with the type
  uint64_t offset;             // of the first byte, from the start of the file
  std::span<const std::byte> bytes;  // empty if the type, and so the size, is unknown
};

// Everything is checked before parse() returns: afterwards every view lies inside the file, keys
// and names are unique, tensors do not overlap. Views (string_view, span, GgufArray) point into the
// file and are valid as long as this object or another owner of the memory is. Const methods may
// be called from any thread.
class GgufFile {
 public:
  // Maps the file. Throws Io if it cannot be mapped, GgufParse naming file, offset, what was
  // expected and what is there if it is not a valid GGUF file.
  static GgufFile open(const std::string& path);
  // Reads memory that `owner` (may be null: then the caller) keeps alive. `name` stands for the
  // file in messages.
  static GgufFile parse(std::span<const std::byte> data, std::shared_ptr<const void> owner,
                        std::string name);

  GgufFile(GgufFile&&) noexcept;
  GgufFile& operator=(GgufFile&&) noexcept;
  ~GgufFile();

  const std::string& name() const { return name_; }
  std::span<const std::byte> bytes() const { return data_; }  // the whole file
  uint32_t version() const { return version_; }
  uint32_t alignment() const { return alignment_; }
  // Asks the kernel to read the tensors ahead of their first use.
  void prefetch() const;

  // --- Metadata, in the file's order.
  std::span<const GgufEntry> metadata() const { return entries_; }
  const GgufEntry* find(std::string_view key) const;  // null if missing

  // The value of `key` as T:
  //   bool, std::string, std::string_view       from bool or string;
  //   an integer type                           from any integer type, if the value fits;
  //   float, double                             from f32 or f64;
  //   GgufArray<E>                              from an array of exactly E (string_view: strings).
  // Throws GgufParse naming key, expected and received type; get() also if the key is missing.
  template <typename T>
  T get(std::string_view key) const {
    return convert<T>(entry(key, expected_name<T>()));
  }
  template <typename T>
  T get_or(std::string_view key, T fallback) const {
    const GgufEntry* found = find(key);
    return found ? convert<T>(*found) : std::move(fallback);
  }

  // --- Tensors, in the file's order.
  std::span<const GgufTensor> tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;  // null if missing
  // For use: throws GgufParse if missing, UnsupportedDtype naming tensor and type if the library
  // cannot compute with it. The result has a dtype.
  const GgufTensor& tensor(std::string_view name) const;

  // The tensor as a read-only buffer of `device`, in the file's memory where the device can address
  // it. Keeps that memory alive. The file is wrapped once for each device; what this returns are
  // slices. Throws as tensor() does.
  Buffer weight(const Device& device, std::string_view name) const;
  // Gives back the memory of a mapped file's part that `weight`, or rows of one, covers on a CPU:
  // for what was copied. Who touches it later reads the file again.
  void not_needed(const Buffer& weight) const;

 private:
  friend class GgufParser;
  struct Wraps;
  template <typename T>
  struct IsArray : std::false_type {};
  template <typename E>
  struct IsArray<GgufArray<E>> : std::true_type {
    using Element = E;
  };

  GgufFile();

  template <typename T>
  static std::string expected_name() {
    if constexpr (IsArray<T>::value)
      return "array of " + expected_name<typename IsArray<T>::Element>();
    else if constexpr (std::is_same_v<T, std::string>)
      return "string";
    else
      return std::string(to_string(gguf_type_of<T>()));
  }
  template <typename T>
  T convert(const GgufEntry& e) const;

  const GgufEntry& entry(std::string_view key, std::string_view expected) const;
  [[noreturn]] void wrong_type(const GgufEntry& e, std::string_view expected) const;
  [[noreturn]] void does_not_fit(const GgufEntry& e, std::string_view expected) const;

  std::string name_;
  std::span<const std::byte> data_;
  std::shared_ptr<const void> owner_;
  std::shared_ptr<const MappedFile> mapping_;  // null for parse()
  uint32_t version_ = 0;
  uint32_t alignment_ = 32;
  uint64_t data_start_ = 0;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  std::vector<size_t> by_key_, by_name_;  // positions in the two above, sorted for lookup
  std::unique_ptr<Wraps> wraps_;
};

template <typename T>
T GgufFile::convert(const GgufEntry& e) const {
  const GgufValue& value = e.value;
  const GgufType type = value.type();
  if constexpr (IsArray<T>::value) {
    using E = typename IsArray<T>::Element;
    if (type != GgufType::kArray || value.element_type() != gguf_type_of<E>())
      wrong_type(e, expected_name<T>());
    if constexpr (std::is_same_v<E, std::string_view>)
      return T(value.bytes(), value.size());
    else
      return T(value.bytes());
  } else if constexpr (std::is_same_v<T, bool>) {
    if (type != GgufType::kBool) wrong_type(e, "bool");
    return value.load<bool>();
  } else if constexpr (std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>) {
    if (type != GgufType::kString) wrong_type(e, "string");
    return T(value.load<std::string_view>());
  } else if constexpr (std::is_floating_point_v<T>) {
    if (type == GgufType::kF32) return static_cast<T>(value.load<float>());
    if (type == GgufType::kF64) return static_cast<T>(value.load<double>());
    wrong_type(e, expected_name<T>());
  } else {
    static_assert(std::is_integral_v<T>);
    const auto fit = [&](auto v) {
      if (!std::in_range<T>(v)) does_not_fit(e, expected_name<T>());
      return static_cast<T>(v);
    };
    switch (type) {
      case GgufType::kU8:
        return fit(value.load<uint8_t>());
      case GgufType::kI8:
        return fit(value.load<int8_t>());
      case GgufType::kU16:
        return fit(value.load<uint16_t>());
      case GgufType::kI16:
        return fit(value.load<int16_t>());
      case GgufType::kU32:
        return fit(value.load<uint32_t>());
      case GgufType::kI32:
        return fit(value.load<int32_t>());
      case GgufType::kU64:
        return fit(value.load<uint64_t>());
      case GgufType::kI64:
        return fit(value.load<int64_t>());
      default:
        wrong_type(e, expected_name<T>());
    }
  }
}

}  // namespace decant

#endif  // DECANT_FORMATS_GGUF_H_
