// Writes GGUF files, version 3, tensor by tensor: a file may be larger than memory.
// Source: "GGUF", docs/gguf.md of the ggml repository.
#ifndef DECANT_FORMATS_GGUF_WRITER_H_
#define DECANT_FORMATS_GGUF_WRITER_H_

#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "decant/core/buffer.h"
#include "decant/formats/gguf_types.h"
#include "decant/formats/gguf_value.h"

namespace decant {

// Metadata and tensors come in the order in which they were added.
class GgufWriter {
 public:
  // A number, bool or string.
  template <typename T>
  GgufWriter& add(std::string_view key, T value) {
    begin_entry(key, gguf_type_of<T>());
    append(value);
    return *this;
  }
  GgufWriter& add(std::string_view key, const char* value) {
    return add(key, std::string_view(value));
  }
  template <typename T>
  GgufWriter& add_array(std::string_view key, const std::vector<T>& values) {
    begin_entry(key, GgufType::kArray);
    append(static_cast<uint32_t>(gguf_type_of<T>()));
    append(static_cast<uint64_t>(values.size()));
    for (const T& value : values) append(value);
    return *this;
  }
  // A tensor, shape outermost first. write() calls `data` for its bytes, which must be as many as
  // the tensor has.
  GgufWriter& add_tensor(std::string_view name, DType dtype, const Shape& shape,
                         std::function<void(std::ostream&)> data);

  // Throws Io if the stream fails, InvalidArgument naming the tensor if its data has another size.
  void write(std::ostream& to) const;

 private:
  static constexpr uint64_t kAlignment = 32;

  struct Tensor {
    std::string name;
    DType dtype;
    Shape shape;
    std::function<void(std::ostream&)> data;
  };

  void begin_entry(std::string_view key, GgufType type);
  template <typename T>
  void append(T value) {
    if constexpr (std::is_same_v<T, std::string_view>) {
      append(static_cast<uint64_t>(value.size()));
      metadata_ += value;
    } else {
      static_assert(std::is_arithmetic_v<T>);
      metadata_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
  }

  std::string metadata_;
  uint64_t num_entries_ = 0;
  std::vector<Tensor> tensors_;
};

}  // namespace decant

#endif  // DECANT_FORMATS_GGUF_WRITER_H_
