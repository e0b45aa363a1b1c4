#include "testing/metal_host/checker.h"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "testing/metal_host/symbols.h"

namespace decant::metal_host {
namespace {
constexpr uint32_t kAtomic = 0x80000000u;
// Cells are given back when so many bytes may have one (1.5 GB of them, if each has its own), and
// before the numbers of moments run out.
constexpr uint64_t kMaxBytesSeen = uint64_t{1} << 26;
constexpr uint32_t kMaxMoments = 1u << 31;
}  // namespace

Checker::Checker() {
  // Addresses only; pages appear where something is touched.
  const auto reserve = [](uint64_t count) {
    void* at = mmap(nullptr, count * sizeof(Cell), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    return static_cast<Cell*>(at);
  };
  words_ = reserve(arena_bytes() / kWordBytes);
  bytes_ = reserve(arena_bytes());
}

void Checker::next_interval() {
  first_moment_ += static_cast<uint32_t>(moments_.size());
  moments_.clear();
  dispatches_.clear();
  if (bytes_seen_ > kMaxBytesSeen || first_moment_ > kMaxMoments) {
    madvise(words_, arena_bytes() / kWordBytes * sizeof(Cell), MADV_DONTNEED);
    madvise(bytes_, arena_bytes() * sizeof(Cell), MADV_DONTNEED);
    bytes_seen_ = 0;
    first_moment_ = 1;
  }
  first_of_group_ = first_moment_;
}
void Checker::next_dispatch(const char* kernel, const char* library_path) {
  dispatches_.push_back({kernel, library_path});
}
void Checker::next_group() {
  ++group_;
  first_of_group_ = first_moment_ + static_cast<uint32_t>(moments_.size());
}

uint32_t Checker::moment(uint32_t thread, uint32_t simdgroup, const Epochs& epochs) {
  moments_.push_back(
      {static_cast<uint32_t>(dispatches_.size() - 1), group_, thread, simdgroup, epochs});
  return first_moment_ + static_cast<uint32_t>(moments_.size()) - 1;
}

uint32_t Checker::place_of(const void* code, bool atomic) {
  const auto hash = reinterpret_cast<uintptr_t>(code) * 0x9E3779B97F4A7C15u >> 52;
  Place& recent = recent_places_[hash % recent_places_.size()];
  if (recent.code != code) {
    const auto [entry, is_new] = place_numbers_.try_emplace(code, places_.size());
    if (is_new) places_.push_back(code);
    recent = {code, entry->second};
  }
  return recent.number | (atomic ? kAtomic : 0);
}

bool Checker::ordered(const Moment& a, const Moment& b, Space space) const {
  if (a.group != b.group) return false;  // numbers of groups are never used twice
  if (a.thread == b.thread) return true;
  if (a.epochs.group[space] < b.epochs.group[space]) return true;
  return a.simdgroup == b.simdgroup && a.epochs.simdgroup[space] < b.epochs.simdgroup[space];
}

std::optional<Failure> Checker::access(const Region& region, const std::byte* address, size_t bytes,
                                       bool write, bool atomic, uint32_t moment, const void* code) {
  const Access access{moment, place_of(code, atomic)};
  const uint64_t begin = arena_offset(address), end = begin + bytes;
  bytes_seen_ += bytes;
  // What stands side by side mostly has one history.
  Cell before{}, after{};
  for (uint64_t at = begin; at < end;) {
    Cell& word = words_[at / kWordBytes];
    const bool whole = at % kWordBytes == 0 && end - at >= kWordBytes;
    if (!whole && word != kSplit) {
      std::fill_n(bytes_ + at / kWordBytes * kWordBytes, kWordBytes, word);
      word = kSplit;
    }
    const bool is_split = word == kSplit;
    Cell& cell = is_split ? bytes_[at] : word;
    if (at == begin || cell != before) {
      before = cell;
      if (std::optional<Failure> wrong = check(cell, access, write, region, address + (at - begin)))
        return wrong;
      after = cell;
      if (write)
        after.write = access;
      else
        note_read(after, access);
    }
    cell = after;
    at += is_split ? 1 : kWordBytes;
  }
  return std::nullopt;
}

std::optional<Failure> Checker::check(const Cell& cell, const Access& access, bool write,
                                      const Region& region, const std::byte* byte) const {
  const Space space = region.threadgroup ? kThreadgroupSpace : kDeviceSpace;
  const uint32_t oldest = region.threadgroup ? first_of_group_ : first_moment_;
  const Moment& now = at(access.moment);
  const auto races_with = [&](const Access& before) {
    return before.moment >= oldest && before.moment != access.moment &&
           (before.place & access.place & kAtomic) == 0 && !ordered(at(before.moment), now, space);
  };
  if (!write && region.threadgroup && cell.write.moment < oldest)
    return Failure(FailureKind::kUninitialized,
                   fmt::format("byte {} of {} is read before any thread of this group wrote it",
                               byte - region.begin, region.label));
  if (races_with(cell.write)) return race(cell.write, true, access, write, region, byte);
  if (!write) return std::nullopt;
  for (const Access& read : cell.reads)
    if (races_with(read)) return race(read, false, access, true, region, byte);
  return std::nullopt;
}

// Two readers are kept, of two different threads. A third one pushes the oldest out, so that a
// write that is ordered after the later two, but not after it, goes unnoticed on this schedule.
void Checker::note_read(Cell& cell, const Access& access) const {
  Access& last = cell.reads[0];
  if (last.moment == access.moment) return;
  if (last.moment >= first_moment_ && (at(last.moment).thread != at(access.moment).thread ||
                                       at(last.moment).group != at(access.moment).group))
    cell.reads[1] = last;
  last = access;
}

std::string Checker::describe(const Access& access, bool writes) const {
  const Moment& moment = at(access.moment);
  const Dispatch& dispatch = dispatches_[moment.dispatch];
  return fmt::format("thread {} (simdgroup {}) of {} {} it at {}", moment.thread, moment.simdgroup,
                     dispatch.kernel, writes ? "writes" : "reads",
                     source_line(places_[access.place & ~kAtomic], true, dispatch.library_path));
}

Failure Checker::race(const Access& a, bool a_writes, const Access& b, bool b_writes,
                      const Region& region, const std::byte* address) const {
  const Moment& first = at(a.moment);
  const Moment& second = at(b.moment);
  const Space space = region.threadgroup ? kThreadgroupSpace : kDeviceSpace;
  const Space other = region.threadgroup ? kDeviceSpace : kThreadgroupSpace;
  std::string remedy = "no barrier stands between them";
  if (first.dispatch != second.dispatch) {
    remedy = "they are two dispatches without a barrier between them";
  } else if (first.group != second.group) {
    remedy = "they are in different threadgroups, which nothing orders";
  } else if (ordered(first, second, other)) {
    remedy = fmt::format("the barrier between them is not of the kind mem_{}",
                         space == kDeviceSpace ? "device" : "threadgroup");
  }
  return Failure(FailureKind::kRace,
                 fmt::format("race on byte {} of {}: {}, {}; {}", address - region.begin,
                             region.label, describe(a, a_writes), describe(b, b_writes), remedy));
}

}  // namespace decant::metal_host
