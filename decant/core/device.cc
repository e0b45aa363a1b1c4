#include "decant/core/device.h"

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

Device::Device(std::unique_ptr<Backend> backend) : state_(std::make_shared<State>()) {
  state_->backend = std::move(backend);
}

Buffer Device::buffer(DType dtype, const Shape& shape, Usage usage) const {
  std::shared_ptr<Storage> storage = backend().allocate(bytes_of(dtype, shape.elements()));
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

}  // namespace decant
