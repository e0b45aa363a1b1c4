// Guarded memory: every allocation ends at a page that cannot be touched and lies in one reserved
// stretch of addresses, so that any address tells what it belongs to, or belonged to.
#ifndef DECANT_TESTING_METAL_HOST_MEMORY_H_
#define DECANT_TESTING_METAL_HOST_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace decant::metal_host {

// What lies at an address.
struct Region {
  std::byte* begin = nullptr;
  size_t bytes = 0;
  std::string label;  // "buffer 'k'", "threadgroup memory 0"
  bool threadgroup = false;
  bool released = false;
};

// The region that holds `address` or whose guard pages do, or null.
const Region* region_at(const void* address);
// Whether the address is in the reserved stretch at all.
bool is_arena(const void* address);
// Bytes from the start of the stretch, and its size.
uint64_t arena_offset(const void* address);
uint64_t arena_bytes();

// The few bytes between a region's end and its guard page hold a pattern (NaN, read as numbers).
bool is_rest_intact(const Region& region);
void mend_rest(const Region& region);

// One allocation, zeroed, its end at the guard page but for alignment. When it goes, its addresses
// are not used again: a later access is a fault that still knows the label.
class Memory {
 public:
  explicit Memory(size_t bytes, std::string label = "buffer", size_t alignment = 64);
  // Memory of somebody else's, which must outlive this: no guards, and nothing is checked.
  Memory(std::byte* external, size_t bytes, std::string label);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  std::byte* data() const { return region_->begin; }
  size_t bytes() const { return region_->bytes; }
  const std::string& label() const { return region_->label; }
  void set_label(std::string label) { region_->label = std::move(label); }
  void set_threadgroup() { region_->threadgroup = true; }
  // Moves the start so that `bytes` of the allocation's room are used, flush with its end.
  void resize(size_t bytes, size_t alignment);
  size_t room() const { return room_; }
  template <typename T>
  std::span<T> as() const {
    return {reinterpret_cast<T*>(data()), bytes() / sizeof(T)};
  }

 private:
  Region* region_;
  size_t room_;
  bool external_ = false;
};

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_MEMORY_H_
