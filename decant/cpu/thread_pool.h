// A thin owner of a pthreadpool.
#ifndef DECANT_CPU_THREAD_POOL_H_
#define DECANT_CPU_THREAD_POOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

struct pthreadpool;

namespace decant::cpu {

// Physical cores that this process may run on; hyperthreads share the units that kernels saturate.
uint32_t physical_cores();

class ThreadPool {
 public:
  explicit ThreadPool(uint32_t threads);
  uint32_t threads() const { return threads_; }

  // Calls fn(context, i) for every i in [0, count); the caller's thread takes part. Returns when
  // all are done. Which thread runs which i is not defined. `fn` must not throw.
  void run(void (*fn)(void* context, size_t i), void* context, size_t count);

 private:
  struct Destroy {
    void operator()(pthreadpool* pool) const;
  };
  uint32_t threads_;
  std::unique_ptr<pthreadpool, Destroy> pool_;  // null for one thread
};

}  // namespace decant::cpu

#endif  // DECANT_CPU_THREAD_POOL_H_
