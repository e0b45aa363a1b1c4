#include "decant/core/buffer.h"

#include <algorithm>

#include "decant/core/error.h"

namespace decant {

Shape::Shape(std::span<const uint64_t> extents) {
  require(extents.size() <= kMaxRank, "Shape: rank must be at most {}, got {}", kMaxRank,
          extents.size());
  for (const uint64_t extent : extents) extents_[rank_++] = extent;
}

uint64_t Shape::elements() const {
  uint64_t n = 1;
  for (size_t i = 0; i < rank_; ++i) n = checked_mul(n, extents_[i], "Shape: elements");
  return n;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (size_t i = 0; i < rank_; ++i) text += fmt::format("{}{}", i ? ", " : "", extents_[i]);
  return text + "]";
}

Buffer::Buffer(std::shared_ptr<Storage> storage, size_t byte_offset, DType dtype,
               const Shape& shape)
    : storage_(std::move(storage)),
      byte_offset_(byte_offset),
      byte_len_(bytes_of(dtype, shape.elements())),
      elements_(shape.elements()),
      shape_(shape),
      dtype_(dtype) {
  require(storage_ != nullptr, "Buffer: storage must not be null");
  const uint64_t row = shape.rank() ? shape[shape.rank() - 1] : 1;
  require(row % info(dtype).block_elems == 0,
          "Buffer: last extent of {} must be a multiple of {}'s {} elements", shape,
          to_string(dtype), info(dtype).block_elems);
  const size_t alignment = is_quantized(dtype) ? 2 : info(dtype).block_bytes;
  require(byte_offset % alignment == 0,
          "Buffer: byte offset must be a multiple of {} for {}, got {}", alignment,
          to_string(dtype), byte_offset);
  require(byte_offset <= storage_->bytes() && byte_len_ <= storage_->bytes() - byte_offset,
          "Buffer: {} {} at byte {} needs {} bytes, the storage has {}", to_string(dtype), shape,
          byte_offset, byte_len_, storage_->bytes());
  // Backends align what they allocate; wrapped memory may lie anywhere.
  require(reinterpret_cast<uintptr_t>(host()) % alignment == 0,
          "Buffer: memory of {} must be aligned to {} bytes", to_string(dtype), alignment);
}

Buffer Buffer::slice(size_t byte_offset, DType dtype, const Shape& shape) const {
  require(storage_ != nullptr, "Buffer::slice: the buffer is empty");
  const size_t bytes = bytes_of(dtype, shape.elements());
  require(byte_offset <= byte_len_ && bytes <= byte_len_ - byte_offset,
          "Buffer::slice: {} {} at byte {} needs {} bytes, the view has {}", to_string(dtype),
          shape, byte_offset, bytes, byte_len_);
  return Buffer(storage_, byte_offset_ + byte_offset, dtype, shape);
}

Buffer Buffer::rows(uint64_t first, uint64_t count) const {
  require(shape_.rank() >= 1, "Buffer::rows: the buffer has no axis");
  require(first <= shape_[0] && count <= shape_[0] - first,
          "Buffer::rows: {} rows from row {} on were asked for, the shape is {}", count, first,
          shape_);
  const size_t row_bytes = shape_[0] ? byte_len_ / shape_[0] : 0;
  Buffer part = *this;
  part.byte_offset_ += first * row_bytes;
  part.byte_len_ = count * row_bytes;
  part.elements_ = shape_[0] ? elements_ / shape_[0] * count : 0;
  switch (shape_.rank()) {
    case 1:
      require(info(dtype_).block_elems == 1, "Buffer::rows: a single {} row cannot be cut",
              to_string(dtype_));
      part.shape_ = {count};
      break;
    case 2:
      part.shape_ = {count, shape_[1]};
      break;
    case 3:
      part.shape_ = {count, shape_[1], shape_[2]};
      break;
    default:
      part.shape_ = {count, shape_[1], shape_[2], shape_[3]};
  }
  return part;
}

Buffer Buffer::reshape(const Shape& shape) const {
  require(storage_ != nullptr, "Buffer::reshape: the buffer is empty");
  require(shape.elements() == elements_, "Buffer::reshape: {} has {} elements, {} has {}", shape,
          shape.elements(), shape_, elements_);
  return Buffer(storage_, byte_offset_, dtype_, shape);
}

bool Buffer::overlaps(const Buffer& other) const {
  return storage_ && storage_ == other.storage_ && byte_len_ > 0 && other.byte_len_ > 0 &&
         byte_offset_ < other.byte_offset_ + other.byte_len_ &&
         other.byte_offset_ < byte_offset_ + byte_len_;
}

void Buffer::check_host_access(size_t element_bytes, bool writable) const {
  require(host() != nullptr, "Buffer::span: the host cannot address this memory");
  require(!writable || !storage_->read_only,
          "Buffer::span: the memory is read-only; ask for a span of const elements");
  require(info(dtype_).block_bytes == element_bytes,
          "Buffer::span: elements of {} have {} bytes, the span's type has {}", to_string(dtype_),
          info(dtype_).block_bytes, element_bytes);
}

void Buffer::check_host_load(size_t element_bytes, uint64_t index) const {
  check_host_access(element_bytes, false);
  require(storage_->usage == Usage::kHostVisible,
          "Buffer::load: the memory must be Usage::kHostVisible");
  require(index < elements_, "Buffer::load: index must be below {}, got {}", elements_, index);
}

}  // namespace decant
