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
  try {
    for (uint32_t i = 1; i < threads; ++i) workers_.emplace_back(&ThreadPool::work, this);
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
  require(count < kIndexMask, "ThreadPool::run: {} items are too many", count);
  const std::lock_guard lock(run_mutex_);
  // No index is below the mask's: late workers can claim nothing while the fields change.
  const uint64_t loop = (claim_.load(std::memory_order_relaxed) >> kIndexBits) + 1;
  claim_.store(loop << kIndexBits | kIndexMask, std::memory_order_seq_cst);
  fn_.store(fn, std::memory_order_release);
  context_.store(context, std::memory_order_release);
  count_.store(static_cast<uint32_t>(count), std::memory_order_release);
  unfinished_.store(static_cast<uint32_t>(count), std::memory_order_relaxed);
  claim_.store((loop + 1) << kIndexBits, std::memory_order_seq_cst);
  wake_.fetch_add(1, std::memory_order_seq_cst);
  // A worker counts itself before it looks at wake_ for the last time, so none is missed.
  if (sleepers_.load(std::memory_order_seq_cst) > 0) wake_.notify_all();

  take_items((loop + 1) & (UINT64_MAX >> kIndexBits));
  const auto finished = [this] { return unfinished_.load(std::memory_order_acquire) == 0; };
  if (spin_until(finished)) return;
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire))
    unfinished_.wait(left, std::memory_order_acquire);
}

void ThreadPool::take_items(uint64_t loop) {
  // The fields belong to `loop` if a claim made after reading them succeeds: they change only while
  // claim_ carries another number.
  const Item fn = fn_.load(std::memory_order_acquire);
  void* const context = context_.load(std::memory_order_acquire);
  const uint32_t count = count_.load(std::memory_order_acquire);
  uint64_t claim = claim_.load(std::memory_order_acquire);
  while (claim >> kIndexBits == loop) {
    const auto begin = static_cast<uint32_t>(claim & kIndexMask);
    if (begin >= count) return;
    // Large shares first, so that a thread walks through neighbours; small ones last, for balance.
    const uint32_t share = std::max(1u, (count - begin) / (2 * threads_));
    if (!claim_.compare_exchange_weak(claim, claim + share, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
      continue;
    for (size_t i = begin; i < begin + share; ++i) fn(context, i);
    if (unfinished_.fetch_sub(share, std::memory_order_acq_rel) == share) unfinished_.notify_all();
    claim = claim_.load(std::memory_order_acquire);
  }
}

void ThreadPool::work() {
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
    take_items(claim_.load(std::memory_order_acquire) >> kIndexBits);
  }
}

}  // namespace decant::cpu
