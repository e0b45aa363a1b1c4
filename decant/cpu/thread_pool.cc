#include "decant/cpu/thread_pool.h"

#include <hwy/cache_control.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <string>
#include <system_error>

#include "decant/core/error.h"

namespace decant::cpu {
namespace {

// Loops of one token follow each other within microseconds, so a short spin saves the wake-up; more
// would take a core from whoever else needs it.
constexpr std::chrono::microseconds kSpin{50};

// Spins until `done` holds; false if that took longer than kSpin.
template <typename Done>
bool spin_until(const Done& done) {
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      hwy::Pause();
    }
  } while (std::chrono::steady_clock::now() < give_up);
  return false;
}

}  // namespace

uint32_t physical_cores() {
  const uint32_t fallback = std::max(1u, std::thread::hardware_concurrency());
#ifdef __linux__
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return fallback;
  std::set<std::string> cores;
  uint32_t unknown = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    std::ifstream file(
        fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    std::string siblings;
    if (std::getline(file, siblings))
      cores.insert(siblings);
    else
      ++unknown;
  }
  const auto count = static_cast<uint32_t>(cores.size()) + unknown;
  return count > 0 ? count : fallback;
#else
  return fallback;
#endif
}

ThreadPool::ThreadPool(uint32_t threads) : threads_(threads) {
  require(threads >= 1 && threads <= 4096, "Device::cpu: threads must be 1 to 4096, got {}",
          threads);
  parts_ = std::make_unique<Part[]>(threads);
  try {
    for (uint32_t i = 1; i < threads; ++i) workers_.emplace_back(&ThreadPool::work, this, i);
  } catch (const std::system_error& e) {
    stop();
    fail(ErrorKind::kAllocationFailed, "Device::cpu: cannot start {} threads: {}", threads,
         e.what());
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  stopping_.store(true, std::memory_order_release);
  wake_.fetch_add(1, std::memory_order_seq_cst);
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Item fn, void* context, size_t count) {
  // One item is not worth waking anybody for.
  if (workers_.empty() || count <= 1) {
    for (size_t i = 0; i < count; ++i) fn(context, i);
    return;
  }
  const std::lock_guard lock(run_mutex_);
  const uint64_t number = number_.load(std::memory_order_relaxed) + 2;
  number_.store(number - 1, std::memory_order_relaxed);
  fn_.store(fn, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  count_.store(count, std::memory_order_release);
  unfinished_.store(count, std::memory_order_relaxed);
  number_.store(number, std::memory_order_release);
  wake_.fetch_add(1, std::memory_order_seq_cst);
  // A worker counts itself before it looks at wake_ for the last time, so none is missed.
  if (sleepers_.load(std::memory_order_seq_cst) > 0) wake_.notify_all();

  take_items({number, fn, context, count}, 0);
  const auto finished = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  if (spin_until(finished)) return;
  for (size_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire))
    unfinished_.wait(left, std::memory_order_acquire);
}

ThreadPool::Loop ThreadPool::current_loop() const {
  while (true) {
    const uint64_t number = number_.load(std::memory_order_acquire);
    const Loop loop{number, fn_.load(std::memory_order_acquire),
                    context_.load(std::memory_order_acquire),
                    count_.load(std::memory_order_acquire)};
    // Whoever has read a field of the next loop sees that loop's number, or the odd one before it.
    if (number % 2 == 0 && number_.load(std::memory_order_relaxed) == number) return loop;
    hwy::Pause();
  }
}

void ThreadPool::take_items(const Loop& loop, uint32_t thread) {
  size_t finished = 0;
  for (uint32_t i = 0; i < threads_; ++i) {
    while (const size_t items = take_from(loop, (thread + i) % threads_, i == 0)) finished += items;
  }
  // Once for all of them: every thread writes to this place.
  if (finished != 0 && unfinished_.fetch_sub(finished, std::memory_order_acq_rel) == finished)
    unfinished_.notify_all();
}

// Runs one unit from the front of the thread's own part or, from the back of another's, half of
// what is left. Returns the number of items; 0 if nothing is left.
size_t ThreadPool::take_from(const Loop& loop, uint32_t part, bool own) {
  constexpr uint64_t kNumbers = ~uint64_t{0} >> 2 * kUnitBits;
  std::atomic<uint64_t>& left = parts_[part].left;
  uint64_t seen = left.load(std::memory_order_acquire);
  uint64_t begin, end, taken, after;
  do {
    if (seen >> 2 * kUnitBits == (loop.number & kNumbers)) {
      begin = seen >> kUnitBits & kMaxUnits;
      end = seen & kMaxUnits;
    } else {
      // Of an earlier loop, or of a later one, if this thread is late. The exchange below fails if
      // `loop` ends in between: by then all of the part has been taken.
      if (number_.load(std::memory_order_acquire) != loop.number) return 0;
      const uint64_t each = loop.units() / threads_, more = loop.units() % threads_;
      begin = part * each + std::min<uint64_t>(part, more);
      end = begin + each + (part < more ? 1 : 0);
    }
    if (begin == end) return 0;
    taken = own ? 1 : (end - begin + 1) / 2;
    after = loop.number << 2 * kUnitBits |
            (own ? (begin + 1) << kUnitBits | end : begin << kUnitBits | (end - taken));
  } while (!left.compare_exchange_weak(seen, after, std::memory_order_acq_rel,
                                       std::memory_order_acquire));
  const size_t first = (own ? begin : end - taken) * loop.grain();
  const size_t last = std::min(first + taken * loop.grain(), loop.count);
  for (size_t i = first; i < last; ++i) loop.fn(loop.context, i);
  return last - first;
}

void ThreadPool::work(uint32_t thread) {
  uint32_t seen = 0;
  while (true) {
    const auto woken = [&] { return wake_.load(std::memory_order_acquire) != seen; };
    if (!spin_until(woken)) {
      sleepers_.fetch_add(1, std::memory_order_seq_cst);
      while (!woken()) wake_.wait(seen, std::memory_order_seq_cst);
      sleepers_.fetch_sub(1, std::memory_order_seq_cst);
    }
    seen = wake_.load(std::memory_order_acquire);
    if (stopping_.load(std::memory_order_acquire)) return;
    take_items(current_loop(), thread);
  }
}

}  // namespace decant::cpu
