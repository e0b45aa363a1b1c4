// The executor's own generator: the same sequence everywhere.
#ifndef DECANT_TESTING_METAL_HOST_RANDOM_H_
#define DECANT_TESTING_METAL_HOST_RANDOM_H_

#include <cstdint>
#include <utility>
#include <vector>

namespace decant::metal_host {

// xorshift64*.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du) {
    if (state_ == 0) state_ = 1;
    next();
  }
  uint32_t next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1du) >> 32);
  }
  uint32_t below(uint32_t bound) { return static_cast<uint32_t>((uint64_t{next()} * bound) >> 32); }
  template <typename T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i)
      std::swap(items[i - 1], items[below(static_cast<uint32_t>(i))]);
  }

 private:
  uint64_t state_;
};

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_RANDOM_H_
