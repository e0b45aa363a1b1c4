// Buffers that stand between poisoned guards, for tests of out-of-bounds writes and reads.
#ifndef DECANT_TESTING_GUARDED_H_
#define DECANT_TESTING_GUARDED_H_

#include <gtest/gtest.h>

#include <cstddef>
#include <span>

#include "decant/core/device.h"

namespace decant::testing {

// view() is a slice in the middle of a larger buffer. Everything outside it, and at birth inside it
// too, holds the bytes 0xFF: NaN as f16, bf16, f32 and f64, so a read of a byte that nobody gave
// shows in the result; intact() shows writes.
class Guarded {
 public:
  Guarded(const Device& device, DType dtype, const Shape& shape, Usage usage = Usage::kNormal);
  const Buffer& view() const { return view_; }
  // Copies values into the view; sizes must match.
  void fill(std::span<const std::byte> values);
  template <typename T>
  void fill(std::span<const T> values) {
    fill(std::as_bytes(values));
  }
  void poison();  // the view too
  ::testing::AssertionResult intact() const;

 private:
  static constexpr size_t kGuardBytes = 4096;
  Device device_;
  Buffer whole_, view_;
};

}  // namespace decant::testing

#endif  // DECANT_TESTING_GUARDED_H_
