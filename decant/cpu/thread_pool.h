// Threads for parallel loops that start every few microseconds.
#ifndef DECANT_CPU_THREAD_POOL_H_
#define DECANT_CPU_THREAD_POOL_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
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

  // Calls fn(context, i) for every i in [0, count) and returns when all calls have. Each thread
  // has a part of the range, walks it from its front, and then helps the others from the backs of
  // theirs: so what it reads is one stream of addresses, which memory delivers best. `fn` must not
  // throw. May be called from several threads; the loops then run one after another.
  void run(Item fn, void* context, size_t count);

 private:
  // What is left of a thread's part, in units of some items: the number of the loop (40 bits: years
  // of loops), the first unit and the one behind the last. Another loop's number means that nobody
  // has taken any of it in this one; so nothing has to be set up for a loop.
  struct alignas(64) Part {
    std::atomic<uint64_t> left{0};
  };
  static constexpr int kUnitBits = 12;
  static constexpr uint64_t kMaxUnits = (uint64_t{1} << kUnitBits) - 1;

  // A loop's fields, as a thread has read them.
  struct Loop {
    uint64_t number;
    Item fn;
    void* context;
    size_t count;

    size_t grain() const { return (count + kMaxUnits - 1) / kMaxUnits; }
    size_t units() const { return (count + grain() - 1) / grain(); }
  };

  void work(uint32_t thread);
  Loop current_loop() const;
  void take_items(const Loop& loop, uint32_t thread);
  size_t take_from(const Loop& loop, uint32_t part, bool own);
  void stop();

  uint32_t threads_;
  std::mutex run_mutex_;  // one loop at a time
  std::unique_ptr<Part[]> parts_;
  // Of the loop below: its number, odd while the fields change. A thread may be late: it has read a
  // loop's fields, and by now that loop is over. It then finds nothing left of any part.
  alignas(64) std::atomic<decltype(Loop::number)> number_{0};
  std::atomic<Item> fn_{nullptr};
  std::atomic<void*> context_{nullptr};
  std::atomic<size_t> count_{1};
  alignas(64) std::atomic<size_t> unfinished_{0};  // items
  alignas(64) std::atomic<uint32_t> wake_{0};      // grows with every loop; workers sleep on it
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::vector<std::thread> workers_;
};

}  // namespace decant::cpu

#endif  // DECANT_CPU_THREAD_POOL_H_
