#include "testing/metal_host/engine.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "testing/metal_host/engine_state.h"

metal_host::Thread* metal_host_thread = nullptr;
const metal_host::Group* metal_host_group = nullptr;

namespace decant::metal_host {
namespace {

// All ones: NaN as half, bfloat and float, and no index that stays in bounds.
constexpr int kPoison = 0xFF;

std::mutex g_mutex;

Size3 position_of(uint64_t index, const Size3& extent) {
  return {static_cast<uint32_t>(index % extent.x),
          static_cast<uint32_t>(index / extent.x % extent.y),
          static_cast<uint32_t>(index / extent.x / extent.y)};
}

}  // namespace

Engine& Engine::instance() {
  static auto* const engine = new Engine;  // outlives every static
  return *engine;
}

void Engine::run(const DispatchPlan& plan, const RunOptions& options) {
  options_ = options;
  random_ = Random(options.seed);
  set_up(plan);
  std::vector<uint64_t> order(plan.groups.count());
  for (uint64_t i = 0; i < order.size(); ++i) order[i] = i;
  if (options.seed == 1) std::reverse(order.begin(), order.end());
  if (options.seed > 1) random_.shuffle(order);
  struct Body {
    Engine& engine;
    const std::vector<uint64_t>& order;
  } body{*this, order};
  failure_.reset();
  const std::optional<Fault> fault = catch_faults(
      [](void* argument) {
        auto& b = *static_cast<Body*>(argument);
        for (const uint64_t index : b.order) {
          b.engine.run_group(position_of(index, b.engine.plan_->groups));
          if (b.engine.failure_) return;
        }
      },
      &body);
  if (fault) failure_.emplace(explain(*fault));
  if (!failure_) check_rests();
  if (!failure_) return;
  num_fibers_ = 0;  // they stand anywhere
  throw Failure(*failure_);
}

// Alignment may leave a few bytes between a buffer's end and the guard page.
void Engine::check_rests() {
  for (const void* buffer : plan_->buffers) {
    const Region* region = buffer == nullptr ? nullptr : region_at(buffer);
    if (region == nullptr || is_rest_intact(*region)) continue;
    failure_.emplace(FailureKind::kOutOfBounds,
                     fmt::format("{}: a thread writes just behind {}, which has {} bytes",
                                 plan_->kernel->name, describe_memory(*region), region->bytes));
    mend_rest(*region);
    return;
  }
}

void Engine::set_up(const DispatchPlan& plan) {
  plan_ = &plan;
  num_threads_ = static_cast<uint32_t>(plan.threads.count());
  group_ = {};
  group_.simdgroups = (num_threads_ + abi::kLanes - 1) / abi::kLanes;
  const auto copy = [](const Size3& from, unsigned(&to)[3]) {
    to[0] = from.x, to[1] = from.y, to[2] = from.z;
  };
  copy(plan.groups, group_.groups);
  copy(plan.threads, group_.threads);
  for (int axis = 0; axis < 3; ++axis)
    group_.threads_in_grid[axis] = group_.groups[axis] * group_.threads[axis];
  std::copy(plan.buffers.begin(), plan.buffers.end(), group_.buffers);
  place_threadgroup_memory();
  metal_host_group = &group_;

  for (uint32_t i = 0; i < num_threads_; ++i) {
    abi::Thread& thread = lanes_[i].thread;
    copy(position_of(i, plan.threads), thread.position_in_group);
    thread.index_in_group = i;
    thread.lane = i % abi::kLanes;
    thread.simdgroup = i / abi::kLanes;
    if (i >= num_fibers_) lanes_[i].stack = stacks_.prepare(i, fiber_main);
  }
  num_fibers_ = std::max(num_fibers_, num_threads_);
  for (uint32_t i = 0; i < group_.simdgroups; ++i) {
    const uint32_t lanes = std::min(num_threads_ - i * abi::kLanes, abi::kLanes);
    simdgroups_[i].all = lanes == 32 ? ~0u : (1u << lanes) - 1;
  }
  if (plan.checked) {
    if (!checker_) checker_ = std::make_unique<Checker>();
    checker_->next_dispatch(plan.kernel->name, plan.library_path);
  }
}

// Every argument and variable lies in memory of its own, its end at a guard page.
void Engine::place_threadgroup_memory() {
  used_threadgroup_memory_.clear();
  const auto place = [this](std::vector<std::unique_ptr<Memory>>& pool, size_t index, size_t bytes,
                            size_t alignment, const char* kind) -> void* {
    if (pool.size() <= index) pool.resize(index + 1);
    if (!pool[index]) {
      pool[index] = std::make_unique<Memory>(abi::kMaxThreadgroupBytes,
                                             fmt::format("threadgroup {} {}", kind, index));
      pool[index]->set_threadgroup();
    }
    pool[index]->resize(bytes, alignment);
    used_threadgroup_memory_.push_back(pool[index].get());
    return pool[index]->data();
  };
  for (size_t i = 0; i < plan_->threadgroup_bytes.size(); ++i)
    if (const size_t bytes = plan_->threadgroup_bytes[i]; bytes != 0)
      group_.threadgroup[i] = place(threadgroup_arguments_, i, bytes, 16, "argument");
  variable_addresses_.clear();
  for (const abi::ThreadgroupVariable& variable : *plan_->variables) {
    if (variable_addresses_.size() <= variable.id) variable_addresses_.resize(variable.id + 1);
    variable_addresses_[variable.id] =
        place(threadgroup_variables_, variable.id, variable.size, variable.align, "variable");
  }
  group_.variables = variable_addresses_.data();
}

void Engine::poison_threadgroup_memory() {
  for (const Memory* memory : used_threadgroup_memory_)
    std::memset(memory->data(), kPoison, memory->bytes());
}

void Engine::run_group(const Size3& position) {
  group_.position[0] = position.x, group_.position[1] = position.y, group_.position[2] = position.z;
  poison_threadgroup_memory();
  epoch_ = {};
  ready_groups_ = group_.simdgroups == 32 ? ~0u : (1u << group_.simdgroups) - 1;
  for (uint32_t i = 0; i < group_.simdgroups; ++i) {
    Simdgroup& simdgroup = simdgroups_[i];
    simdgroup.ready = simdgroup.all;
    simdgroup.meeting = simdgroup.at_barrier = simdgroup.done = 0;
    simdgroup.epoch = {};
  }
  for (uint32_t i = 0; i < num_threads_; ++i) {
    Lane& lane = lanes_[i];
    for (int axis = 0; axis < 3; ++axis)
      lane.thread.position_in_grid[axis] =
          group_.position[axis] * group_.threads[axis] + lane.thread.position_in_group[axis];
    lane.moment = 0;
  }
  if (plan_->checked) checker_->next_group();
  const uint32_t group = pick(ready_groups_);
  Lane& first = lanes_[group * abi::kLanes + pick(simdgroups_[group].ready)];
  metal_host_thread = &first.thread;
  fiber_switch(&main_stack_, first.stack);
}

void Engine::access(const void* address, size_t bytes, bool write, bool atomic, const void* code) {
  if (!is_arena(address) || !plan_->checked) return;  // no plan while a library is loaded
  const auto* at = static_cast<const std::byte*>(address);
  const Region* region = region_at(address);
  const bool starts_inside = region != nullptr && !region->released && at >= region->begin &&
                             at < region->begin + region->bytes;
  if (!starts_inside || at + bytes > region->begin + region->bytes) {
    // The first byte may be inside: name the first that is not.
    const auto* outside = starts_inside ? region->begin + region->bytes : at;
    leave(explain({SIGSEGV, outside, static_cast<const char*>(code) - 1, write}));
  }
  Lane& own = lane();
  if (own.moment == 0)
    own.moment = checker_->moment(own.thread.index_in_group, own.thread.simdgroup,
                                  {epoch_, simdgroup().epoch});
  const std::optional<Failure> wrong =
      checker_->access(*region, at, bytes, write, atomic, own.moment, code);
  if (wrong) stop(wrong->kind, wrong->what(), code);
}

void run_dispatch(const DispatchPlan& plan, const RunOptions& options) {
  const std::lock_guard lock(g_mutex);
  Engine::instance().run(plan, options);
}

void next_interval() {
  const std::lock_guard lock(g_mutex);
  Engine::instance().next_interval();
}

}  // namespace decant::metal_host

// --- What compiled kernels call.

using decant::metal_host::Engine;
using decant::metal_host::FailureKind;

void metal_host_barrier(unsigned mem_flags, const char* what, int line) {
  Engine::instance().barrier({what, line}, mem_flags);
}
void metal_host_simdgroup_barrier(unsigned mem_flags, const char* what, int line) {
  Engine::instance().meet(nullptr, {what, line}, mem_flags);
}
metal_host::Exchange* metal_host_exchange() { return Engine::instance().exchange(); }
void metal_host_meet(metal_host::Combine combine, const char* what, int line) {
  Engine::instance().meet(combine, {what, line}, 0);
}
void metal_host_atomic(const volatile void* address, unsigned size, int write) {
  Engine::instance().access(const_cast<const void*>(address), size, write != 0, true,
                            __builtin_return_address(0));
}
void metal_host_access(const void* address, unsigned long size, int write, const void* code) {
  Engine::instance().access(address, size, write != 0, false, code);
}
void metal_host_misaligned(const void* address, unsigned alignment, const void* code) {
  const decant::metal_host::Region* region = decant::metal_host::region_at(address);
  std::string memory = "private memory";
  if (region != nullptr)
    memory = fmt::format("byte {} of {}", static_cast<const std::byte*>(address) - region->begin,
                         region->label);
  Engine::instance().stop(
      FailureKind::kMisaligned,
      fmt::format("{} is accessed as a type that needs {}-byte alignment", memory, alignment),
      code);
}
void metal_host_index(unsigned long index, const void* code) {
  Engine::instance().stop(FailureKind::kOutOfBounds,
                          fmt::format("index {} is outside of the array", static_cast<long>(index)),
                          code);
}
void metal_host_division(const void* code) {
  Engine::instance().stop(FailureKind::kArithmetic, "integer division by zero", code);
}
