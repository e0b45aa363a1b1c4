#include "decant/core/device.h"

#include <algorithm>

#include "decant/core/error.h"

namespace decant {

std::string_view to_string(BackendKind kind) {
  switch (kind) {
    case BackendKind::kCpu:
      return "cpu";
    case BackendKind::kCuda:
      return "cuda";
    case BackendKind::kMetal:
      return "metal";
  }
  return "unknown";
}

void Backend::zero(const Buffer& to) {
  static constexpr std::byte kZeros[4096]{};
  for (size_t at = 0; at < to.byte_len(); at += sizeof kZeros) {
    const size_t n = std::min(to.byte_len() - at, sizeof kZeros);
    write(Buffer(to.storage(), to.byte_offset() + at, DType::kU8, {n}), {kZeros, n});
  }
}

Device::Device(std::unique_ptr<Backend> backend) : state_(std::make_shared<State>()) {
  state_->backend = std::move(backend);
}

Buffer Device::buffer(DType dtype, const Shape& shape, Usage usage) const {
  const size_t bytes = bytes_of(dtype, shape.elements());
  std::shared_ptr<Storage> storage = usage == Usage::kHostVisible
                                         ? backend().allocate_host_visible(bytes)
                                         : backend().allocate(bytes);
  storage->usage = usage;
  return Buffer(std::move(storage), 0, dtype, shape);
}

Buffer Device::wrap(std::span<const std::byte> memory, DType dtype, const Shape& shape,
                    std::shared_ptr<const void> owner) const {
  std::shared_ptr<Storage> storage = backend().wrap(memory, std::move(owner));
  storage->read_only = true;
  return Buffer(std::move(storage), 0, dtype, shape);
}

void Device::write(const Buffer& to, std::span<const std::byte> from) const {
  require(to.device() == id(), "Device::write: the buffer belongs to another device");
  require(!to.storage()->read_only, "Device::write: the buffer is read-only");
  require(to.byte_len() == from.size(), "Device::write: the buffer has {} bytes, got {}",
          to.byte_len(), from.size());
  backend().write(to, from);
}

void Device::read(const Buffer& from, std::span<std::byte> to) const {
  require(from.device() == id(), "Device::read: the buffer belongs to another device");
  require(from.byte_len() == to.size(), "Device::read: the buffer has {} bytes, got {}",
          from.byte_len(), to.size());
  backend().read(from, to);
}

namespace {

// Not a variable at namespace scope: listings are made while such are.
std::vector<void (*)(const Device&)>& listings() {
  static std::vector<void (*)(const Device&)> all;
  return all;
}

}  // namespace

KernelListing::KernelListing(void (*register_on)(const Device& device)) {
  listings().push_back(register_on);
}

void register_all_kernels(const Device& device) {
  for (void (*register_on)(const Device&) : listings()) register_on(device);
}

void Device::zero(const Buffer& to) const {
  require(to.device() == id(), "Device::zero: the buffer belongs to another device");
  require(!to.storage()->read_only, "Device::zero: the buffer is read-only");
  backend().zero(to);
}

}  // namespace decant
