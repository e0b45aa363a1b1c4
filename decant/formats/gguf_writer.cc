#include "decant/formats/gguf_writer.h"

#include <bit>
#include <utility>

#include "decant/core/error.h"

namespace decant {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are little-endian");

template <typename T>
void put(std::ostream& to, T value) {
  to.write(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_string(std::ostream& to, std::string_view text) {
  put(to, static_cast<uint64_t>(text.size()));
  to.write(text.data(), static_cast<std::streamsize>(text.size()));
}

void check(const std::ostream& to) {
  if (!to) fail(ErrorKind::kIo, "gguf: the file cannot be written");
}

}  // namespace

void GgufWriter::begin_entry(std::string_view key, GgufType type) {
  append(key);
  append(static_cast<uint32_t>(type));
  ++num_entries_;
}

GgufWriter& GgufWriter::add_tensor(std::string_view name, DType dtype, const Shape& shape,
                                   std::function<void(std::ostream&)> data) {
  tensors_.push_back({std::string(name), dtype, shape, std::move(data)});
  return *this;
}

void GgufWriter::write(std::ostream& to) const {
  const auto padding = [](uint64_t size) { return (kAlignment - size % kAlignment) % kAlignment; };
  const auto pad = [&](uint64_t size) {
    for (uint64_t i = padding(size); i > 0; --i) to.put('\0');
  };
  const std::streamoff begin = to.tellp();
  to.write("GGUF", 4);
  put(to, uint32_t{3});
  put(to, static_cast<uint64_t>(tensors_.size()));
  put(to, num_entries_);
  to.write(metadata_.data(), static_cast<std::streamsize>(metadata_.size()));
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    put_string(to, tensor.name);
    put(to, static_cast<uint32_t>(tensor.shape.rank()));
    for (size_t axis = tensor.shape.rank(); axis-- > 0;) put(to, tensor.shape[axis]);
    put(to, tensor_type(tensor.dtype).number);
    put(to, offset);
    const uint64_t bytes = bytes_of(tensor.dtype, tensor.shape.elements());
    offset += bytes + padding(bytes);
  }
  check(to);
  pad(static_cast<uint64_t>(to.tellp() - begin));
  for (const Tensor& tensor : tensors_) {
    const uint64_t bytes = bytes_of(tensor.dtype, tensor.shape.elements());
    const std::streamoff start = to.tellp();
    tensor.data(to);
    check(to);
    const auto written = static_cast<uint64_t>(to.tellp() - start);
    require(written == bytes, "gguf: tensor '{}': expected {} bytes of data, got {}", tensor.name,
            bytes, written);
    pad(bytes);
  }
  check(to);
}

}  // namespace decant
