#include "decant/cpu/thread_pool.h"

#include <pthreadpool.h>
#include <sched.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <thread>
#include <utility>

#include "decant/core/error.h"

// pthreadpool is not instrumented: its hand-over of work and its join must be told to the thread
// sanitizer, or every kernel would look like a race.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DECANT_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define DECANT_TSAN 1
#endif
#ifdef DECANT_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace decant::cpu {

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

void ThreadPool::Destroy::operator()(pthreadpool* pool) const { pthreadpool_destroy(pool); }

ThreadPool::ThreadPool(uint32_t threads) : threads_(threads) {
  require(threads >= 1 && threads <= 4096, "Device::cpu: threads must be 1 to 4096, got {}",
          threads);
  if (threads == 1) return;
  pool_.reset(pthreadpool_create(threads));
  if (!pool_) fail(ErrorKind::kAllocationFailed, "Device::cpu: cannot start {} threads", threads);
}

void ThreadPool::run(void (*fn)(void* context, size_t i), void* context, size_t count) {
  // One item is not worth waking anybody for.
  if (!pool_ || count == 1) {
    for (size_t i = 0; i < count; ++i) fn(context, i);
    return;
  }
#ifdef DECANT_TSAN
  struct Told {
    void (*fn)(void*, size_t);
    void* context;
    static void call(void* opaque, size_t i) {
      const Told& told = *static_cast<Told*>(opaque);
      __tsan_acquire(opaque);
      told.fn(told.context, i);
      __tsan_release(opaque);
    }
  } told{fn, context};
  __tsan_release(&told);
  pthreadpool_parallelize_1d(pool_.get(), &Told::call, &told, count, 0);
  __tsan_acquire(&told);
#else
  pthreadpool_parallelize_1d(pool_.get(), fn, context, count, 0);
#endif
}

}  // namespace decant::cpu
