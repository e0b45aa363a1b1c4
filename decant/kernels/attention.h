// Which slots of a KV cache a query attends. Shared by the attention ops, their references and
// tests.
#ifndef DECANT_KERNELS_ATTENTION_H_
#define DECANT_KERNELS_ATTENTION_H_

#include <cstdint>

namespace decant {

enum class AttnMask : uint32_t {
  kNone = 0,
  kCausal = 1,
  kSlidingWindow = 2,
};

// The cache of one KV head as a ring: slot p holds the key of age logical(p), 0 the oldest. Before
// the ring is full, ring_start is 0 and slots fill in order.
constexpr uint32_t logical_of_slot(uint32_t slot, uint32_t ring_start, uint32_t kv_capacity) {
  return slot >= ring_start ? slot - ring_start : slot + (kv_capacity - ring_start);
}
constexpr uint32_t slot_of_logical(uint32_t logical, uint32_t ring_start, uint32_t kv_capacity) {
  const uint64_t slot = uint64_t{logical} + ring_start;
  return static_cast<uint32_t>(slot >= kv_capacity ? slot - kv_capacity : slot);
}

// First logical key that the newest of `kv_seq_len` keys' query attends; it attends all from there
// on, so a window of W attends exactly W keys, the newest included.
constexpr uint32_t window_start(AttnMask mask, uint32_t sliding_window, uint32_t kv_seq_len) {
  return mask == AttnMask::kSlidingWindow && kv_seq_len > sliding_window
             ? kv_seq_len - sliding_window
             : 0;
}

// The attended keys in slot order: at most two runs of consecutive slots.
struct SlotRuns {
  uint32_t begin[2];
  uint32_t end[2];

  constexpr uint32_t count() const { return (end[0] - begin[0]) + (end[1] - begin[1]); }
};

// Logical keys [first, last) as runs of slots, lower slots first. Needs last <= kv_capacity.
constexpr SlotRuns slot_runs(uint32_t first, uint32_t last, uint32_t ring_start,
                             uint32_t kv_capacity) {
  const uint32_t wrap = kv_capacity - ring_start;  // logical key that lies in slot 0
  const uint32_t high_end = last < wrap ? last : wrap;
  SlotRuns runs{};
  if (last > wrap) {
    runs.begin[0] = first > wrap ? first - wrap : 0;
    runs.end[0] = last - wrap;
  }
  if (first < high_end) {
    runs.begin[1] = first + ring_start;
    runs.end[1] = high_end + ring_start;
  }
  return runs;
}

}  // namespace decant

#endif  // DECANT_KERNELS_ATTENTION_H_
