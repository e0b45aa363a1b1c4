// Makes GGUF files for tests: valid ones, and ones that are broken in one chosen place.
#ifndef DECANT_TESTING_GGUF_BUILDER_H_
#define DECANT_TESTING_GGUF_BUILDER_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decant/core/buffer.h"
#include "decant/formats/gguf_types.h"
#include "decant/formats/gguf_value.h"

namespace decant::testing {

// Appends the little-endian bytes of a number.
template <typename T>
void append(std::vector<std::byte>& to, T value) {
  const size_t at = to.size();
  to.resize(at + sizeof value);
  std::memcpy(to.data() + at, &value, sizeof value);
}
// Appends a length of 8 bytes and the characters.
void append_string(std::vector<std::byte>& to, std::string_view text);

// Public fields hold what the header will say; set one to something false to break the file there.
class GgufBuilder {
 public:
  std::string magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data that build() writes; add general.alignment to match it
  std::optional<uint64_t> tensor_count, metadata_count;  // if not the true ones

  // A number, bool or string.
  template <typename T>
  GgufBuilder& add(std::string_view key, T value) {
    std::vector<std::byte>& to = entry(key, gguf_type_of<T>());
    if constexpr (std::is_same_v<T, std::string_view>)
      append_string(to, value);
    else
      append(to, value);
    return *this;
  }
  GgufBuilder& add(std::string_view key, const char* value) {
    return add(key, std::string_view(value));
  }
  template <typename T>
  GgufBuilder& add_array(std::string_view key, const std::vector<T>& values) {
    std::vector<std::byte>& to = entry(key, GgufType::kArray);
    append(to, static_cast<uint32_t>(gguf_type_of<T>()));
    append<uint64_t>(to, values.size());
    for (const T& value : values) {
      if constexpr (std::is_same_v<T, std::string_view>)
        append_string(to, value);
      else
        append(to, value);
    }
    return *this;
  }
  // Any type number with any payload.
  GgufBuilder& add_raw(std::string_view key, uint32_t type, std::span<const std::byte> payload);

  // A tensor, dimensions outermost first. Its offset follows from the tensors before it unless it
  // is given.
  GgufBuilder& add_tensor(std::string_view name, uint32_t type, const std::vector<uint64_t>& dims,
                          std::vector<std::byte> data, std::optional<uint64_t> offset = {});
  // A tensor of seeded content: floats are small and finite; block formats are random bits.
  GgufBuilder& add_random_tensor(std::string_view name, DType dtype, const Shape& shape,
                                 uint64_t seed);

  // The file. The last tensor is not padded: each byte counts.
  std::vector<std::byte> build() const;

 private:
  struct Tensor {
    std::string name;
    uint32_t type;
    std::vector<uint64_t> dims;
    std::vector<std::byte> data;
    std::optional<uint64_t> offset;
  };
  // Starts an entry and returns where its payload goes.
  std::vector<std::byte>& entry(std::string_view key, GgufType type);

  std::vector<std::byte> entries_;
  uint64_t num_entries_ = 0;
  std::vector<Tensor> tensors_;
};

// A small file with every metadata type, arrays, and a tensor of every type that the library
// computes with.
GgufBuilder sample_gguf(uint64_t seed = 1);

}  // namespace decant::testing

#endif  // DECANT_TESTING_GGUF_BUILDER_H_
