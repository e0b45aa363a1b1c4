// Memory: Storage is one allocation of a backend, Buffer a typed and shaped view of a part of it.
#ifndef DECANT_CORE_BUFFER_H_
#define DECANT_CORE_BUFFER_H_

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "decant/core/dtype.h"

namespace decant {

// Up to four extents, outermost first. No allocation.
class Shape {
 public:
  static constexpr size_t kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<uint64_t> extents)
      : Shape(std::span(extents.begin(), extents.size())) {}
  explicit Shape(std::span<const uint64_t> extents);

  size_t rank() const { return rank_; }
  uint64_t operator[](size_t axis) const { return extents_[axis]; }
  uint64_t elements() const;  // 1 for rank 0; throws InvalidArgument on overflow
  bool operator==(const Shape&) const = default;
  std::string to_string() const;  // "[4, 256]"; to fmt functions, pass the shape itself

 private:
  std::array<uint64_t, kMaxRank> extents_{};
  size_t rank_ = 0;
};

// What a buffer's content means outside the commands that use it.
enum class Usage {
  kNormal,   // the host may read and write it between commits
  kScratch,  // defined only from a write to the last read of it inside one encoder or graph replay;
             // a graph may skip writing it
  kHostVisible,  // as kNormal, and the host may load() from it while commands run; slower for the
                 // device where memories are apart
};

// One allocation. Backends derive from it.
class Storage {
 public:
  Storage(std::byte* host, size_t bytes, const void* device)
      : host_(host), bytes_(bytes), device_(device) {}
  virtual ~Storage() = default;
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* host() const { return host_; }  // null when the host cannot address it
  size_t bytes() const { return bytes_; }
  const void* device() const { return device_; }  // identity of the owning device
  Usage usage = Usage::kNormal;
  bool read_only = false;  // a file mapping, for example

 private:
  std::byte* host_;
  size_t bytes_;
  const void* device_;
};

// A counted reference to a contiguous, row-major part of a Storage. Copies share the memory.
class Buffer {
 public:
  Buffer() = default;
  // A view of `storage` from byte_offset on. Throws InvalidArgument if it does not lie inside or
  // its first byte is not aligned to the element (block formats: to 2 bytes, as their f16 scales
  // are), in the storage and for the host.
  Buffer(std::shared_ptr<Storage> storage, size_t byte_offset, DType dtype, const Shape& shape);

  explicit operator bool() const { return storage_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  uint64_t elements() const { return elements_; }
  size_t byte_offset() const { return byte_offset_; }  // from the start of the storage
  size_t byte_len() const { return byte_len_; }        // of this view alone
  const std::shared_ptr<Storage>& storage() const { return storage_; }
  const void* device() const { return storage_ ? storage_->device() : nullptr; }

  // First byte of the view for the host, or null.
  std::byte* host() const {
    return storage_ && storage_->host() ? storage_->host() + byte_offset_ : nullptr;
  }

  // The view as T for the host (block formats: one T a block). Throws InvalidArgument if T's size
  // is not the element's, the host cannot address the memory, or it is read-only and T is not
  // const. Only valid between commits.
  template <typename T>
  std::span<T> span() const {
    static_assert(std::is_trivially_copyable_v<T>);
    check_host_access(sizeof(T), !std::is_const_v<T>);
    return {reinterpret_cast<T*>(host()),
            static_cast<size_t>(elements_ / info(dtype_).block_elems)};
  }

  // Element `index` as T, of 1 to 8 bytes, while commands run: what a kernel stored with one
  // instruction, or the value before. What it stored earlier and published with a system-wide fence
  // is visible afterwards. Throws InvalidArgument as span() does, for Usage other than
  // kHostVisible, and for an index out of range.
  template <typename T>
  T load(uint64_t index) const {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8);
    check_host_load(sizeof(T), index);
    // Aligned as the element is, and never cached in a register.
    return std::atomic_ref<T>(reinterpret_cast<T*>(host())[index]).load(std::memory_order_acquire);
  }

  // A view of a part of this view: byte_offset counts from this view's first byte, and the part
  // must end inside this view, however large the storage is.
  Buffer slice(size_t byte_offset, DType dtype, const Shape& shape) const;
  Buffer slice(size_t byte_offset, const Shape& shape) const {
    return slice(byte_offset, dtype_, shape);
  }
  // Rows [first, first + count) of the outermost axis.
  Buffer rows(uint64_t first, uint64_t count) const;
  // The same bytes in another shape of as many elements.
  Buffer reshape(const Shape& shape) const;

  bool overlaps(const Buffer& other) const;

 private:
  void check_host_access(size_t element_bytes, bool writable) const;
  void check_host_load(size_t element_bytes, uint64_t index) const;

  std::shared_ptr<Storage> storage_;
  size_t byte_offset_ = 0;
  size_t byte_len_ = 0;
  uint64_t elements_ = 0;
  Shape shape_;
  DType dtype_ = DType::kU8;
};

}  // namespace decant

// Makes a shape an argument of error messages, so that its text is built only when one is thrown.
template <>
struct fmt::formatter<decant::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(const decant::Shape& shape, Context& context) const {
    const std::string text = shape.to_string();
    return std::copy(text.begin(), text.end(), context.out());
  }
};

#endif  // DECANT_CORE_BUFFER_H_
