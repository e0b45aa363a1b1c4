// Remembers who touched every byte last, and finds accesses that nothing orders.
//
// Only barriers order memory, and each only the kind it names: a threadgroup barrier all threads
// of its group, a simdgroup barrier the lanes of its simdgroup. Simd operations order nothing, nor
// do relaxed atomics. Threads of different groups, and dispatches between two barriers of a
// concurrent encoder, are never ordered. So two accesses of a byte, one of them a write and not
// both atomic, race unless such a barrier stands between them; on which schedule they were seen
// does not matter.
#ifndef DECANT_TESTING_METAL_HOST_CHECKER_H_
#define DECANT_TESTING_METAL_HOST_CHECKER_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "testing/metal_host/failure.h"
#include "testing/metal_host/memory.h"

namespace decant::metal_host {

// Kinds of memory that barriers tell apart, as indices.
enum Space : uint8_t { kDeviceSpace, kThreadgroupSpace };

// How many barriers of each kind a thread has behind it.
struct Epochs {
  std::array<uint32_t, 2> group{}, simdgroup{};
};

class Checker {
 public:
  Checker();
  Checker(const Checker&) = delete;
  Checker& operator=(const Checker&) = delete;

  // All that comes is ordered after all that was.
  void next_interval();
  void next_dispatch(const char* kernel, const char* library_path);
  void next_group();

  // A name for this stretch of a thread's life, for access().
  uint32_t moment(uint32_t thread, uint32_t simdgroup, const Epochs& epochs);

  // What is wrong with this access inside of `region`, if anything.
  std::optional<Failure> access(const Region& region, const std::byte* address, size_t bytes,
                                bool write, bool atomic, uint32_t moment, const void* code);

 private:
  struct Moment {
    uint32_t dispatch, group, thread, simdgroup;
    Epochs epochs;
  };
  // Moments count from 1; 0 is never. The top bit of a place says that the access was atomic.
  struct Access {
    uint32_t moment, place;
    bool operator==(const Access&) const = default;
  };
  struct Cell {
    Access write;
    std::array<Access, 2> reads;
    bool operator==(const Cell&) const = default;
  };
  // Of a word whose bytes are told apart: they have cells of their own.
  static constexpr uint64_t kWordBytes = 4;
  static constexpr Cell kSplit = {{0, ~0u}, {}};
  struct Dispatch {
    const char* kernel;
    const char* library_path;
  };

  const Moment& at(uint32_t moment) const { return moments_[moment - first_moment_]; }
  bool ordered(const Moment& a, const Moment& b, Space space) const;
  std::optional<Failure> check(const Cell& cell, const Access& access, bool write,
                               const Region& region, const std::byte* byte) const;
  void note_read(Cell& cell, const Access& access) const;
  Failure race(const Access& a, bool a_writes, const Access& b, bool b_writes, const Region& region,
               const std::byte* address) const;
  std::string describe(const Access& access, bool writes) const;
  uint32_t place_of(const void* code, bool atomic);

  Cell* words_;
  Cell* bytes_;
  std::vector<Moment> moments_;
  std::vector<Dispatch> dispatches_;
  // Code addresses by number, and their numbers.
  std::vector<const void*> places_;
  std::unordered_map<const void*, uint32_t> place_numbers_;
  struct Place {
    const void* code;
    uint32_t number;
  };
  std::array<Place, 4096> recent_places_{};  // by a hash of the address
  uint32_t first_moment_ = 1;                // of this interval
  uint32_t first_of_group_ = 1;
  uint32_t group_ = 0;
  uint64_t bytes_seen_ = 0;  // accesses added up since there was no cell
};

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_CHECKER_H_
