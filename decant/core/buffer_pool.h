// Reuses the memory of buffers that nobody holds any more.
#ifndef DECANT_CORE_BUFFER_POOL_H_
#define DECANT_CORE_BUFFER_POOL_H_

#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

#include "decant/core/device.h"

namespace decant {

// May be used from any thread. A buffer returns to the pool by itself when its last copy, the
// encoders' and graphs' included, is gone. Sizes are rounded up to powers of two, so a loop that
// acquires the same sizes again and again allocates nothing after its first round.
class BufferPool {
 public:
  explicit BufferPool(Device device) : device_(std::move(device)) {}

  // A zeroed buffer, kNormal or kScratch. Throws AllocationFailed, and InvalidArgument for
  // kHostVisible.
  Buffer acquire(DType dtype, const Shape& shape, Usage usage = Usage::kNormal);

  size_t held_bytes() const;  // in use and free
  void trim();                // gives free memory back

 private:
  Device device_;
  mutable std::mutex mutex_;
  struct Pooled {
    size_t size_class;  // what was asked of the backend, which may round up further
    std::shared_ptr<Storage> storage;
  };
  std::vector<Pooled> pooled_;
};

}  // namespace decant

#endif  // DECANT_CORE_BUFFER_POOL_H_
