#include "decant/core/buffer_pool.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "decant/core/error.h"

namespace decant {

Buffer BufferPool::acquire(DType dtype, const Shape& shape, Usage usage) {
  const size_t bytes = bytes_of(dtype, shape.elements());
  require(usage != Usage::kHostVisible, "BufferPool::acquire: kHostVisible is not pooled");
  require(bytes <= SIZE_MAX / 2, "BufferPool::acquire: {} bytes are too many", bytes);
  const size_t rounded = std::bit_ceil(std::max<size_t>(bytes, 256));

  const std::lock_guard lock(mutex_);
  for (const auto& [size_class, storage] : pooled_) {
    // The pool's own reference is the only one, and copies are only made from other references.
    if (size_class != rounded || storage.use_count() != 1) continue;
    Buffer reused(storage, 0, dtype, shape);
    // Pairs with the release of whoever dropped the last other reference. gcc refuses fences under
    // -fsanitize=thread, which sees the same order in libstdc++'s acquiring increment above.
#if !defined(__SANITIZE_THREAD__)
    std::atomic_thread_fence(std::memory_order_acquire);
#endif
    storage->usage = usage;
    device_.zero(reused);
    return reused;
  }
  std::shared_ptr<Storage> storage = device_.backend().allocate(rounded);
  storage->usage = usage;
  pooled_.push_back({rounded, storage});
  return Buffer(std::move(storage), 0, dtype, shape);
}

size_t BufferPool::held_bytes() const {
  const std::lock_guard lock(mutex_);
  size_t total = 0;
  for (const Pooled& pooled : pooled_) total += pooled.storage->bytes();
  return total;
}

void BufferPool::trim() {
  const std::lock_guard lock(mutex_);
  std::erase_if(pooled_, [](const Pooled& pooled) { return pooled.storage.use_count() == 1; });
}

}  // namespace decant
