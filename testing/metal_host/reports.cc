// What went wrong, in words.
#include <fmt/format.h>
#include <signal.h>

#include "testing/metal_host/engine_state.h"
#include "testing/metal_host/symbols.h"

namespace decant::metal_host {

// The thread's stack is left as it is: kernels have no destructors.
void Engine::leave(Failure failure) {
  failure_.emplace(std::move(failure));
  fiber_switch(&lane().stack, main_stack_);
  __builtin_unreachable();
}

void Engine::stop(FailureKind kind, const std::string& message, const void* code) {
  leave(Failure(kind, fmt::format("{}: {}, at {}", who(), message,
                                  source_line(code, true, plan_->library_path))));
}
void Engine::stop(FailureKind kind, const std::string& message, const Place& place) {
  leave(Failure(kind, fmt::format("{}: {}, at line {}", who(), message, place.line)));
}

std::string Engine::who() const {
  const abi::Thread& thread = *metal_host_thread;
  return fmt::format("{}: threadgroup ({}, {}, {}), thread {} (simdgroup {}, lane {})",
                     plan_->kernel->name, group_.position[0], group_.position[1],
                     group_.position[2], thread.index_in_group, thread.simdgroup, thread.lane);
}

std::string Engine::state_of(uint32_t thread) const {
  const Simdgroup& simdgroup = simdgroups_[thread / abi::kLanes];
  const uint32_t bit = 1u << thread % abi::kLanes;
  const Place& place = lanes_[thread].place;
  if ((simdgroup.done & bit) != 0) return "returned";
  if ((simdgroup.ready & bit) != 0) return "running";
  return fmt::format("at {} in line {}", place.what, place.line);
}

// "threads 0-3: at simd_sum in line 7; threads 4-31: returned".
std::string Engine::states(uint32_t first, uint32_t end) const {
  std::string text;
  for (uint32_t i = first; i < end;) {
    const std::string state = state_of(i);
    uint32_t last = i;
    while (last + 1 < end && state_of(last + 1) == state) ++last;
    if (!text.empty()) text += "; ";
    text += i == last ? fmt::format("thread {}: {}", i, state)
                      : fmt::format("threads {}-{}: {}", i, last, state);
    i = last + 1;
  }
  return text;
}

void Engine::diverged(uint32_t group) {
  const uint32_t first = group * abi::kLanes;
  leave(Failure(FailureKind::kDivergence,
                fmt::format("{}: not all lanes of the simdgroup reach one simd operation: {}",
                            who(), states(first, std::min(first + abi::kLanes, num_threads_)))));
}

void Engine::diverged_at_barrier() {
  leave(Failure(FailureKind::kDivergence,
                fmt::format("{}: not all threads of the group reach one barrier: {}", who(),
                            states(0, num_threads_))));
}

// "argument 1 'k' (buffer 'cache')".
std::string Engine::describe_memory(const Region& region) const {
  for (uint32_t i = 0; i < plan_->kernel->num_params; ++i) {
    const abi::Param& param = plan_->kernel->params[i];
    if (param.kind != abi::ParamKind::kBuffer) continue;
    const auto* bound = static_cast<const std::byte*>(plan_->buffers[param.index]);
    if (bound != nullptr && region_at(bound) == &region) {
      const auto offset = bound - region.begin;
      return fmt::format("argument {} '{}' ({}{})", param.index, param.name, region.label,
                         offset == 0 ? "" : fmt::format(", bound at byte {}", offset));
    }
  }
  return region.label;
}

Failure Engine::explain(const Fault& fault) const {
  const std::string at =
      fmt::format("{}, at {}", "", source_line(fault.code, false, plan_->library_path)).substr(2);
  const char* verb = fault.write ? "writes" : "reads";
  if (fault.signal == SIGFPE)
    return {FailureKind::kArithmetic, fmt::format("{}: division by zero, {}", who(), at)};
  if (stacks_.is_guard(fault.address))
    return {FailureKind::kCrash,
            fmt::format("{}: more than {} KB of stack, {}", who(), Stacks::kStackBytes / 1024, at)};
  const Region* region = region_at(fault.address);
  if (region == nullptr && (fault.signal == SIGSEGV || fault.signal == SIGBUS))
    return {FailureKind::kOutOfBounds,
            fmt::format("{}: {} address {}, which belongs to no argument, {}", who(), verb,
                        fault.address, at)};
  if (region == nullptr)
    return {FailureKind::kCrash, fmt::format("{}: signal {}, {}", who(), fault.signal, at)};
  const auto offset = static_cast<const std::byte*>(fault.address) - region->begin;
  if (region->released)
    return {FailureKind::kReleased, fmt::format("{}: {} byte {} of {}, which was released, {}",
                                                who(), verb, offset, describe_memory(*region), at)};
  return {FailureKind::kOutOfBounds,
          fmt::format("{}: {} byte {} of {}, which has {} bytes, {}", who(), verb, offset,
                      describe_memory(*region), region->bytes, at)};
}

}  // namespace decant::metal_host
