// The engine's inside, shared by its parts: engine.cc sets a dispatch up, scheduler.cc decides who
// runs, reports.cc says what went wrong.
#ifndef DECANT_TESTING_METAL_HOST_ENGINE_STATE_H_
#define DECANT_TESTING_METAL_HOST_ENGINE_STATE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "testing/metal_host/checker.h"
#include "testing/metal_host/engine.h"
#include "testing/metal_host/failure.h"
#include "testing/metal_host/faults.h"
#include "testing/metal_host/fiber.h"
#include "testing/metal_host/memory.h"
#include "testing/metal_host/random.h"

namespace decant::metal_host {

// Where a thread waits.
struct Place {
  const char* what = "";
  int line = 0;
  bool operator==(const Place& other) const {
    return line == other.line && (what == other.what || std::strcmp(what, other.what) == 0);
  }
};

struct Lane {
  abi::Thread thread{};
  void* stack = nullptr;
  Place place;
  uint32_t moment = 0;  // the checker's; 0 after a barrier
};

// Every lane is in exactly one of the masks ready, meeting, at_barrier, done.
struct Simdgroup {
  abi::Exchange exchange;
  uint32_t all = 0, ready = 0, meeting = 0, at_barrier = 0, done = 0;
  Place place;  // of the meeting
  abi::Combine combine = nullptr;
  uint32_t mem_flags = 0;
  std::array<uint32_t, 2> epoch{};
};

class Engine {
 public:
  static Engine& instance();

  void run(const DispatchPlan& plan, const RunOptions& options);
  void next_interval() {
    if (checker_) checker_->next_interval();
  }

  // --- Called by the running thread of a kernel.
  abi::Exchange* exchange() { return &simdgroup().exchange; }
  void meet(abi::Combine combine, const Place& place, uint32_t mem_flags);
  void barrier(const Place& place, uint32_t mem_flags);
  void access(const void* address, size_t bytes, bool write, bool atomic, const void* code);
  // Ends the dispatch with this failure. `code` is a return address in the kernel, or null: then
  // the message names the line of `place`.
  [[noreturn]] void stop(FailureKind kind, const std::string& message, const void* code);
  [[noreturn]] void stop(FailureKind kind, const std::string& message, const Place& place);

 private:
  static void fiber_main();
  Lane& lane() { return lanes_[metal_host_thread->index_in_group]; }
  Simdgroup& simdgroup() { return simdgroups_[metal_host_thread->simdgroup]; }

  void set_up(const DispatchPlan& plan);
  void check_rests();
  void place_threadgroup_memory();
  void poison_threadgroup_memory();
  void run_group(const Size3& position);

  void finish();
  void switch_away();
  void complete(Simdgroup& simdgroup);
  void pass(uint32_t group, uint32_t lanes);
  void release_barrier();
  uint32_t pick(uint32_t mask);

  [[noreturn]] void leave(Failure failure);
  [[noreturn]] void diverged(uint32_t group);
  [[noreturn]] void diverged_at_barrier();
  std::string states(uint32_t first, uint32_t end) const;
  std::string state_of(uint32_t thread) const;
  std::string who() const;
  std::string describe_memory(const Region& region) const;
  Failure explain(const Fault& fault) const;

  const DispatchPlan* plan_ = nullptr;
  RunOptions options_;
  Random random_{0};
  Stacks stacks_{abi::kMaxGroupThreads};
  std::vector<Lane> lanes_{abi::kMaxGroupThreads};
  std::array<Simdgroup, abi::kMaxGroupThreads / abi::kLanes> simdgroups_;
  uint32_t num_threads_ = 0;
  uint32_t num_fibers_ = 0;    // that stand at the end of a kernel, ready for another
  uint32_t ready_groups_ = 0;  // a bit for each simdgroup with ready lanes
  uint32_t barrier_flags_ = 0;
  std::array<uint32_t, 2> epoch_{};
  abi::Group group_{};
  void* main_stack_ = nullptr;
  std::optional<Failure> failure_;
  std::vector<std::unique_ptr<Memory>> threadgroup_arguments_, threadgroup_variables_;
  std::vector<Memory*> used_threadgroup_memory_;
  std::vector<void*> variable_addresses_;
  std::unique_ptr<Checker> checker_;
};

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_ENGINE_STATE_H_
