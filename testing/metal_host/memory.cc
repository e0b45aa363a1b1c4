#include "testing/metal_host/memory.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <deque>
#include <mutex>
#include <new>

#include "testing/metal_host/failure.h"

namespace decant::metal_host {
namespace {

constexpr uint64_t kArenaBytes = uint64_t{1} << 38;  // addresses, not memory
constexpr size_t kPage = 4096;

constexpr size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

std::byte* reserve(uint64_t bytes, int protection) {
  void* at = mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  return static_cast<std::byte*>(at);
}

// Addresses are handed out once, from the front.
struct Arena {
  std::byte* base = reserve(kArenaBytes, PROT_NONE);
  // The region of each page, one-based.
  uint32_t* region_of_page = reinterpret_cast<uint32_t*>(
      reserve(kArenaBytes / kPage * sizeof(uint32_t), PROT_READ | PROT_WRITE));
  uint64_t used = 0;
  std::deque<Region> regions;
  std::mutex mutex;
};

Arena& arena() {
  static auto* const instance = new Arena;  // outlives every static
  return *instance;
}

}  // namespace

std::string_view to_string(FailureKind kind) {
  static constexpr std::string_view kNames[] = {
      "Compile",     "UnknownKernel", "Binding",    "Launch",        "ThreadgroupMemory",
      "OutOfBounds", "Released",      "Misaligned", "Uninitialized", "Divergence",
      "Simd",        "Race",          "Arithmetic", "Validation",    "Crash"};
  return kNames[static_cast<int>(kind)];
}

bool is_arena(const void* address) { return arena_offset(address) < kArenaBytes; }
uint64_t arena_offset(const void* address) {
  return static_cast<uint64_t>(static_cast<const std::byte*>(address) - arena().base);
}
uint64_t arena_bytes() { return kArenaBytes; }

const Region* region_at(const void* address) {
  if (!is_arena(address)) return nullptr;
  const uint32_t number = arena().region_of_page[arena_offset(address) / kPage];
  return number == 0 ? nullptr : &arena().regions[number - 1];
}

namespace {
std::span<std::byte> rest_of(const Region& region) {
  std::byte* end = region.begin + region.bytes;
  const size_t rest = (kPage - reinterpret_cast<uintptr_t>(end) % kPage) % kPage;
  return {end, region.released || region.bytes == 0 ? 0 : rest};
}
}  // namespace

bool is_rest_intact(const Region& region) {
  const auto rest = rest_of(region);
  return std::all_of(rest.begin(), rest.end(), [](std::byte b) { return b == std::byte{0xFF}; });
}
void mend_rest(const Region& region) {
  const auto rest = rest_of(region);
  std::fill(rest.begin(), rest.end(), std::byte{0xFF});
}

Memory::Memory(size_t bytes, std::string label, size_t alignment) : room_(round_up(bytes, kPage)) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  // A guard page before, one behind.
  const uint64_t span = room_ + 2 * kPage;
  if (bytes > kArenaBytes || a.used + span > kArenaBytes) throw std::bad_alloc();
  std::byte* first = a.base + a.used;
  if (room_ != 0 && mprotect(first + kPage, room_, PROT_READ | PROT_WRITE) != 0)
    throw std::bad_alloc();
  a.regions.push_back({first + kPage, room_, std::move(label)});
  region_ = &a.regions.back();
  for (uint64_t page = 0; page < span / kPage; ++page)
    a.region_of_page[a.used / kPage + page] = static_cast<uint32_t>(a.regions.size());
  a.used += span;
  resize(bytes, alignment);
}

Memory::Memory(std::byte* external, size_t bytes, std::string label)
    : room_(bytes), external_(true) {
  Arena& a = arena();
  const std::lock_guard lock(a.mutex);
  a.regions.push_back({external, bytes, std::move(label)});
  region_ = &a.regions.back();
}

void Memory::resize(size_t bytes, size_t alignment) {
  std::byte* end = region_->begin + region_->bytes;
  // begin + bytes may stop short of the page's end, for alignment.
  end = reinterpret_cast<std::byte*>(round_up(reinterpret_cast<uintptr_t>(end), kPage));
  region_->begin = end - round_up(bytes, alignment);
  region_->bytes = bytes;
  mend_rest(*region_);
}

Memory::~Memory() {
  const std::lock_guard lock(arena().mutex);
  region_->released = true;
  if (room_ == 0 || external_) return;
  auto* first = reinterpret_cast<std::byte*>(
      reinterpret_cast<uintptr_t>(region_->begin + region_->bytes + kPage - 1) / kPage * kPage -
      room_);
  madvise(first, room_, MADV_DONTNEED);
  mprotect(first, room_, PROT_NONE);
}

}  // namespace decant::metal_host
