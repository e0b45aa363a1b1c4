// Who runs next. A thread that waits picks its successor itself, so a switch costs one jump.
#include <bit>

#include "testing/metal_host/engine_state.h"

namespace decant::metal_host {

uint32_t Engine::pick(uint32_t mask) {
  if (options_.seed == 0) return static_cast<uint32_t>(std::countr_zero(mask));
  if (options_.seed == 1) return 31 - static_cast<uint32_t>(std::countl_zero(mask));
  const uint32_t start = random_.next() & 31;
  const uint32_t turned = std::rotr(mask, static_cast<int>(start));
  return (static_cast<uint32_t>(std::countr_zero(turned)) + start) & 31;
}

// The running thread waits or is done: another one's turn.
void Engine::switch_away() {
  uint32_t group = metal_host_thread->simdgroup;
  if (simdgroups_[group].ready == 0) {
    if (simdgroups_[group].meeting != 0) diverged(group);
    ready_groups_ &= ~(1u << group);
    if (ready_groups_ == 0) release_barrier();
    if (ready_groups_ == 0) return fiber_switch(&lane().stack, main_stack_);  // all are done
    group = pick(ready_groups_);
  } else if (options_.seed > 1 && (random_.next() & 15) == 0) {
    group = pick(ready_groups_);  // now and then, another simdgroup's turn
  }
  Lane& from = lane();
  Lane& to = lanes_[group * abi::kLanes + pick(simdgroups_[group].ready)];
  if (&from == &to) return;
  metal_host_thread = &to.thread;
  fiber_switch(&from.stack, to.stack);
}

void Engine::meet(abi::Combine combine, const Place& place, uint32_t mem_flags) {
  const uint32_t group = metal_host_thread->simdgroup;
  Simdgroup& own = simdgroups_[group];
  const uint32_t bit = 1u << metal_host_thread->lane;
  lane().place = place;
  const bool first = own.meeting == 0;
  own.ready &= ~bit;
  own.meeting |= bit;
  if (first) {
    own.place = place;
    own.combine = combine;
    own.mem_flags = mem_flags;
  } else if (!(own.place == place)) {
    diverged(group);
  }
  if (own.ready == 0) complete(own);
  switch_away();
}

// If all lanes that are expected have come, they go on with their results.
void Engine::complete(Simdgroup& own) {
  const uint32_t expected = options_.allow_returned_lanes ? own.all & ~own.done : own.all;
  if (own.meeting != expected || expected == 0) return;
  own.exchange.active = own.meeting;
  if (own.combine != nullptr)
    if (const char* wrong = own.combine(own.exchange))
      stop(FailureKind::kSimd, std::string(own.place.what) + " " + wrong, own.place);
  for (uint32_t space = 0; space < 2; ++space) own.epoch[space] += own.mem_flags >> space & 1;
  const uint32_t lanes = own.meeting;
  own.meeting = 0;
  // Only a barrier begins a new stretch for the checker.
  const auto group = static_cast<uint32_t>(&own - simdgroups_.data());
  if (own.mem_flags == 0) {
    own.ready = lanes;
    ready_groups_ |= 1u << group;
  } else {
    pass(group, lanes);
  }
}

void Engine::pass(uint32_t group, uint32_t lanes) {
  simdgroups_[group].ready = lanes;
  ready_groups_ |= 1u << group;
  if (!plan_->checked) return;
  for (uint32_t mask = lanes; mask != 0; mask &= mask - 1)
    lanes_[group * abi::kLanes + static_cast<uint32_t>(std::countr_zero(mask))].moment = 0;
}

void Engine::barrier(const Place& place, uint32_t mem_flags) {
  const uint32_t bit = 1u << metal_host_thread->lane;
  lane().place = place;
  simdgroup().ready &= ~bit;
  simdgroup().at_barrier |= bit;
  barrier_flags_ = mem_flags;  // the same for all, as release_barrier compares their places
  switch_away();
}

// No thread can run: all stand at a barrier or have returned.
void Engine::release_barrier() {
  const Place* place = nullptr;
  bool agree = true, returned = false;
  for (uint32_t i = 0; i < num_threads_; ++i) {
    if ((simdgroups_[i / abi::kLanes].done >> (i % abi::kLanes) & 1) != 0) {
      returned = true;
      continue;
    }
    if (place == nullptr) place = &lanes_[i].place;
    agree = agree && *place == lanes_[i].place;
  }
  if (place == nullptr) return;
  if (!agree || (returned && !options_.allow_returned_lanes)) diverged_at_barrier();
  for (uint32_t space = 0; space < 2; ++space) epoch_[space] += barrier_flags_ >> space & 1;
  for (uint32_t i = 0; i < group_.simdgroups; ++i) {
    const uint32_t lanes = simdgroups_[i].at_barrier;
    simdgroups_[i].at_barrier = 0;
    if (lanes != 0) pass(i, lanes);
  }
}

void Engine::finish() {
  Simdgroup& own = simdgroup();
  const uint32_t bit = 1u << metal_host_thread->lane;
  own.ready &= ~bit;
  own.done |= bit;
  if (own.ready == 0 && own.meeting != 0) complete(own);
  switch_away();
}

void Engine::fiber_main() {
  while (true) {
    instance().plan_->kernel->entry();
    instance().finish();
  }
}

}  // namespace decant::metal_host
