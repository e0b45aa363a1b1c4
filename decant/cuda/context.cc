#include "decant/cuda/context.h"

#include <algorithm>
#include <cstring>

namespace decant::cuda {

Context::Context(std::shared_ptr<const Driver> driver, DeviceNumber device)
    : driver_(std::move(driver)), device_(device) {
  driver_->check(driver_->context_retain(&context_, device_), ErrorKind::kDeviceNotFound,
                 "cuDevicePrimaryCtxRetain");
  Result result = driver_->context_push(context_);
  if (result == kSuccess) {
    result = driver_->stream_create(&stream_, kStreamNonBlocking);
    if (result == kSuccess)
      result = driver_->host_alloc(&staging_, kStagingBytes, kHostAllocPortable);
    if (result != kSuccess && stream_) driver_->stream_destroy(stream_);
    ContextHandle popped;
    driver_->context_pop(&popped);
  }
  if (result != kSuccess) driver_->context_release(device_);
  driver_->check(result, ErrorKind::kDeviceNotFound, "cannot make a stream");
}

Context::~Context() {
  {
    const Current current(*this);
    driver_->stream_synchronize(stream_);
    for (const EventHandle event : events_) driver_->event_destroy(event);
    driver_->host_free(staging_);
    driver_->stream_destroy(stream_);
  }
  driver_->context_release(device_);
}

Context::Current::Current(const Context& context)
    : driver_(*context.driver_), pushed_(driver_.context_push(context.context_) == kSuccess) {}

Context::Current::~Current() {
  ContextHandle popped;
  if (pushed_) driver_.context_pop(&popped);
}

void Context::write(DevicePtr to, std::span<const std::byte> from) {
  if (from.empty()) return;
  const Current current(*this);
  if (from.size() <= kStagingBytes) {
    const std::lock_guard lock(staging_mutex_);
    std::memcpy(staging_, from.data(), from.size());
    check(driver_->copy_to_device(to, staging_, from.size(), stream_), "copying to the device");
    check(driver_->stream_synchronize(stream_), "copying to the device");
    return;
  }
  check(driver_->copy_to_device(to, from.data(), from.size(), stream_), "copying to the device");
  check(driver_->stream_synchronize(stream_), "copying to the device");
}

void Context::read(DevicePtr from, std::span<std::byte> to) {
  if (to.empty()) return;
  const Current current(*this);
  if (to.size() <= kStagingBytes) {
    const std::lock_guard lock(staging_mutex_);
    check(driver_->copy_to_host(staging_, from, to.size(), stream_), "copying from the device");
    check(driver_->stream_synchronize(stream_), "copying from the device");
    std::memcpy(to.data(), staging_, to.size());
    return;
  }
  check(driver_->copy_to_host(to.data(), from, to.size(), stream_), "copying from the device");
  check(driver_->stream_synchronize(stream_), "copying from the device");
}

void Context::zero(DevicePtr to, size_t bytes) {
  if (bytes == 0) return;
  const Current current(*this);
  check(driver_->memset_async(to, 0, bytes, stream_), "clearing memory");
}

uint64_t Context::acquire_event() {
  const std::lock_guard lock(events_mutex_);
  if (free_events_.empty()) {
    EventHandle made = nullptr;
    check(driver_->event_create(&made, kEventDisableTiming), "cuEventCreate");
    events_.push_back(made);
    free_events_.reserve(events_.size());
    return events_.size();
  }
  const uint64_t event = free_events_.back();
  free_events_.pop_back();
  return event;
}

void Context::release_event(uint64_t event) {
  const std::lock_guard lock(events_mutex_);
  free_events_.push_back(event);
}

EventHandle Context::event(uint64_t event) const {
  const std::lock_guard lock(events_mutex_);
  return events_[event - 1];
}

std::shared_ptr<CudaStorage> CudaStorage::make(std::shared_ptr<Context> context, size_t bytes,
                                               bool host_visible, const void* device) {
  const Context::Current current(*context);
  const Driver& driver = context->driver();
  const size_t asked = std::max<size_t>(bytes, 1);
  DevicePtr address = 0;
  void* host = nullptr;
  Result result = host_visible
                      ? driver.host_alloc(&host, asked, kHostAllocPortable | kHostAllocDeviceMap)
                      : driver.memory_alloc(&address, asked);
  if (result == kSuccess && host_visible) {
    result = driver.host_device_pointer(&address, host, 0);
    if (result != kSuccess) driver.host_free(host);
  }
  if (result == kOutOfMemory) {
    size_t free = 0, total = 0;
    driver.memory_info(&free, &total);
    fail(ErrorKind::kAllocationFailed,
         "cuda: cannot allocate {} bytes{} (of the device's {} bytes {} are free)", bytes,
         host_visible ? " of pinned host memory" : "", total, free);
  }
  context->check(result, "cannot allocate");
  std::shared_ptr<CudaStorage> storage(
      new CudaStorage(std::move(context), static_cast<std::byte*>(host), address, bytes, device));
  if (host_visible)
    std::memset(host, 0, bytes);
  else
    storage->context_->zero(address, bytes);
  return storage;
}

CudaStorage::~CudaStorage() {
  const Context::Current current(*context_);
  if (host())
    context_->driver().host_free(host());
  else
    context_->driver().memory_free(address_);
}

}  // namespace decant::cuda
