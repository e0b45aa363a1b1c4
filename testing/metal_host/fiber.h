// Stacks and the switch between them.
#ifndef DECANT_TESTING_METAL_HOST_FIBER_H_
#define DECANT_TESTING_METAL_HOST_FIBER_H_

#include <cstddef>

namespace decant::metal_host {

// `count` stacks, each above a page that cannot be touched.
class Stacks {
 public:
  static constexpr size_t kStackBytes = 64 * 1024;
  explicit Stacks(size_t count);
  ~Stacks();
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;

  // A stack pointer that fiber_switch can resume: it calls `entry`, which never returns.
  void* prepare(size_t index, void (*entry)()) const;
  bool is_guard(const void* address) const;

 private:
  std::byte* base_;
  size_t count_;
};

// Saves the running context's stack pointer in *from and resumes `to`.
void fiber_switch(void** from, void* to);

}  // namespace decant::metal_host

extern "C" void metal_host_fiber_switch(void** from, void* to);
inline void decant::metal_host::fiber_switch(void** from, void* to) {
  metal_host_fiber_switch(from, to);
}

#endif  // DECANT_TESTING_METAL_HOST_FIBER_H_
