#include "decant/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <vector>

namespace decant::cpu {
namespace {

// Counts and thread numbers that leave remainders, more threads than items, and more items than a
// part has units.
constexpr uint32_t kThreads[] = {1, 2, 3, 4, 7};
constexpr size_t kCounts[] = {0, 1, 2, 3, 5, 64, 100, 4095, 4096, 5000, 20000};

TEST(ThreadPool, RunsEveryItemOnce) {
  for (const uint32_t threads : kThreads) {
    ThreadPool pool(threads);
    for (const size_t count : kCounts) {
      std::vector<std::atomic<uint32_t>> runs(count);
      pool.run(
          [](void* context, size_t i) {
            (*static_cast<std::vector<std::atomic<uint32_t>>*>(context))[i].fetch_add(1);
          },
          &runs, count);
      for (size_t i = 0; i < count; ++i)
        ASSERT_EQ(runs[i].load(), 1u) << "item " << i << " of " << count << ", " << threads;
    }
  }
}

// With more threads than cores workers are late: they wake, or go on, while the next loops run. An
// item of an earlier loop would add to the wrong sum, one that runs twice makes a sum too large.
TEST(ThreadPool, LateWorkersDoNoHarm) {
  struct Loop {
    std::atomic<uint64_t> sum{0};
    std::atomic<bool> over{false};
    std::atomic<uint32_t> late{0};
  };
  ThreadPool pool(7);
  constexpr size_t kLoops = 3000;
  std::vector<Loop> loops(kLoops);
  for (size_t n = 0; n < kLoops; ++n) {
    const size_t count = n * 37 % 23;
    pool.run(
        [](void* context, size_t i) {
          Loop& loop = *static_cast<Loop*>(context);
          if (loop.over.load()) loop.late.fetch_add(1);
          if (i % 5 == 0) std::this_thread::yield();
          loop.sum.fetch_add(i + 1);
        },
        &loops[n], count);
    loops[n].over.store(true);
    ASSERT_EQ(loops[n].sum.load(), count * (count + 1) / 2) << "loop " << n;
  }
  for (const Loop& loop : loops) ASSERT_EQ(loop.late.load(), 0u);
}

// A thread walks its own part from the front, and every help takes half of what is left of a part:
// so the items of all threads fall into few runs of neighbours, whatever the timing.
TEST(ThreadPool, AThreadRunsNeighbours) {
  struct Log {
    std::vector<std::thread::id> by;
    std::vector<std::atomic<uint32_t>> order;
    std::atomic<uint32_t> next{0};
  };
  for (const uint32_t threads : {2u, 4u}) {
    ThreadPool pool(threads);
    constexpr size_t kCount = 4000;
    Log log{std::vector<std::thread::id>(kCount), std::vector<std::atomic<uint32_t>>(kCount), {0}};
    pool.run(
        [](void* context, size_t i) {
          Log& l = *static_cast<Log*>(context);
          l.order[i] = l.next.fetch_add(1);
          l.by[i] = std::this_thread::get_id();
        },
        &log, kCount);
    // A run ends where the next item is another thread's, or came earlier.
    size_t runs = 1;
    for (size_t i = 1; i < kCount; ++i)
      if (log.by[i] != log.by[i - 1] || log.order[i] < log.order[i - 1]) ++runs;
    EXPECT_LE(runs, threads * (std::bit_width(kCount / threads) + 1));
  }
}

}  // namespace
}  // namespace decant::cpu
