// Threads for parallel loops that start every few microseconds.
#ifndef DECANT_CPU_THREAD_POOL_H_
#define DECANT_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace decant::cpu {

// Physical cores that this process may run on; hyperthreads share the units that kernels saturate.
uint32_t physical_cores();

// A loop is over when its items are, not when every worker has looked at it: the caller's thread
// takes items too, and a worker that the system does not schedule, on a machine with other work,
// costs nothing. (Pools that wait for each worker to check in stall for a scheduling quantum there,
// which at two hundred loops per token is most of a second.)
class ThreadPool {
 public:
  using Item = void (*)(void* context, size_t i);

  // Throws InvalidArgument for other than 1 to 4096 threads, the caller's own counted, and
  // AllocationFailed if they cannot be started.
  explicit ThreadPool(uint32_t threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  uint32_t threads() const { return threads_; }

  // Calls fn(context, i) for every i in [0, count), neighbours mostly on one thread, and returns
  // when all calls have. Which thread runs which i is not defined. `fn` must not throw. May be
  // called from several threads; the loops then run one after another.
  void run(Item fn, void* context, size_t count);

 private:
  // `claim_` holds the number of the loop above the index of its next item. A worker may be late:
  // it read a loop's fields, and by now the next loop is being set up. Its claim then fails,
  // because the number has changed.
  static constexpr int kIndexBits = 32;
  static constexpr uint64_t kIndexMask = (uint64_t{1} << kIndexBits) - 1;

  void work();
  void take_items(uint64_t loop);
  void stop();

  uint32_t threads_;
  std::mutex run_mutex_;  // one loop at a time
  alignas(64) std::atomic<uint64_t> claim_{kIndexMask};
  std::atomic<Item> fn_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<uint32_t> count_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> wake_{0};  // grows with every loop; workers sleep on it
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace decant::cpu

#endif  // DECANT_CPU_THREAD_POOL_H_
