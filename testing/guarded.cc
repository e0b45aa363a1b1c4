#include "testing/guarded.h"

#include <vector>

namespace decant::testing {

Guarded::Guarded(const Device& device, DType dtype, const Shape& shape, Usage usage)
    : device_(device) {
  const size_t bytes = bytes_of(dtype, shape.elements());
  whole_ = device.buffer(DType::kU8, {kGuardBytes + bytes + kGuardBytes}, usage);
  view_ = whole_.slice(kGuardBytes, dtype, shape);
  poison();
}

void Guarded::fill(std::span<const std::byte> values) { device_.write(view_, values); }

void Guarded::poison() {
  device_.write(whole_, std::vector<std::byte>(whole_.byte_len(), std::byte{0xFF}));
}

::testing::AssertionResult Guarded::intact() const {
  std::vector<std::byte> all(whole_.byte_len());
  device_.read(whole_, all);
  for (size_t i = 0; i < all.size(); ++i) {
    const bool inside = i >= kGuardBytes && i < kGuardBytes + view_.byte_len();
    if (!inside && all[i] != std::byte{0xFF})
      return ::testing::AssertionFailure()
             << "guard byte "
             << static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(kGuardBytes)
             << " (counted from the view's first) was written";
  }
  return ::testing::AssertionSuccess();
}

}  // namespace decant::testing
