// Barriers and the functions of a simdgroup. Every lane brings a value, the last one to come
// computes all results. The caller's line is part of every meeting: lanes that meet from different
// places are an error.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_SIMD_H_
#define DECANT_TESTING_METAL_HOST_SHIM_SIMD_H_

#include "math.h"

namespace metal {

enum class mem_flags : uint {
  mem_none = 0,
  mem_device = 1,
  mem_threadgroup = 2,
  mem_device_and_threadgroup = 3,
  mem_texture = 4,
};
constexpr mem_flags operator|(mem_flags a, mem_flags b) {
  return static_cast<mem_flags>(static_cast<uint>(a) | static_cast<uint>(b));
}

#define METAL_HOST_LINE int line = __builtin_LINE()

inline void threadgroup_barrier(mem_flags flags, METAL_HOST_LINE) {
  metal_host_barrier(static_cast<uint>(flags), "threadgroup_barrier", line);
}
inline void simdgroup_barrier(mem_flags flags, METAL_HOST_LINE) {
  metal_host_simdgroup_barrier(static_cast<uint>(flags), "simdgroup_barrier", line);
}

namespace host {

using metal_host::Exchange;
using metal_host::kLanes;

template <typename T>
inline T& value_of(Exchange& exchange, uint lane) {
  return *reinterpret_cast<T*>(exchange.value[lane]);
}
inline bool is_active(const Exchange& exchange, uint lane) {
  return (exchange.active >> lane & 1) != 0;
}

template <typename T>
inline T meet(T value, uint operand, metal_host::Combine combine, const char* what, int line) {
  static_assert(sizeof(T) <= 16, "a simd operation takes at most 16 bytes a lane");
  Exchange& exchange = *metal_host_exchange();
  const uint lane = metal_host_thread->lane;
  value_of<T>(exchange, lane) = value;
  exchange.operand[lane] = operand;
  metal_host_meet(combine, what, line);
  return value_of<T>(exchange, lane);
}

// Op::identity<T>() and Op::of(a, b).
struct Sum {
  template <typename T>
  static T of(T a, T b) {
    return static_cast<T>(a + b);
  }
};
struct Product {
  template <typename T>
  static T of(T a, T b) {
    return static_cast<T>(a * b);
  }
};
struct Max {
  template <typename T>
  static T of(T a, T b) {
    return max(a, b);
  }
};
struct Min {
  template <typename T>
  static T of(T a, T b) {
    return min(a, b);
  }
};
struct And {
  template <typename T>
  static T of(T a, T b) {
    return static_cast<T>(a & b);
  }
};
struct Or {
  template <typename T>
  static T of(T a, T b) {
    return static_cast<T>(a | b);
  }
};
struct Xor {
  template <typename T>
  static T of(T a, T b) {
    return static_cast<T>(a ^ b);
  }
};

// A tree, as hardware does it: neighbours first.
template <typename T, typename Op, uint width>
inline const char* reduce(Exchange& exchange) {
  for (uint first = 0; first < kLanes; first += width) {
    T sums[width];
    bool have[width];
    for (uint i = 0; i < width; ++i) {
      have[i] = is_active(exchange, first + i);
      sums[i] = value_of<T>(exchange, first + i);
    }
    for (uint step = 1; step < width; step *= 2)
      for (uint i = 0; i + step < width; i += 2 * step) {
        if (have[i + step]) sums[i] = have[i] ? Op::of(sums[i], sums[i + step]) : sums[i + step];
        have[i] = have[i] || have[i + step];
      }
    for (uint i = 0; i < width; ++i) value_of<T>(exchange, first + i) = sums[0];
  }
  return nullptr;
}

template <typename T, typename Op, bool inclusive>
inline const char* prefix(Exchange& exchange) {
  T running = is_same<Op, Product>::value ? T(1) : T(0);
  for (uint lane = 0; lane < kLanes; ++lane) {
    if (!is_active(exchange, lane)) continue;
    T& value = value_of<T>(exchange, lane);
    const T before = running;
    running = Op::of(running, value);
    value = inclusive ? running : before;
  }
  return nullptr;
}

// From::lane(lane, operand) is the lane to read; kLanes or more keeps the lane's own value if
// `keeps`, and is an error otherwise.
template <typename T, typename From, bool keeps>
inline const char* permute(Exchange& exchange) {
  T before[kLanes];
  for (uint lane = 0; lane < kLanes; ++lane) before[lane] = value_of<T>(exchange, lane);
  for (uint lane = 0; lane < kLanes; ++lane) {
    if (!is_active(exchange, lane)) continue;
    const uint from = From::lane(lane, exchange.operand[lane]);
    if (from >= kLanes) {
      if (keeps) continue;
      return "reads from a lane beyond 31";
    }
    if (!is_active(exchange, from)) return "reads from a lane that does not take part";
    value_of<T>(exchange, lane) = before[from];
  }
  return nullptr;
}
struct Direct {
  static uint lane(uint, uint operand) { return operand; }
};
struct Down {
  static uint lane(uint lane, uint operand) { return lane + operand; }
};
// Below lane 0 wraps to a large number.
struct Up {
  static uint lane(uint lane, uint operand) { return lane - operand; }
};
struct Across {
  static uint lane(uint lane, uint operand) { return lane ^ operand; }
};
struct RotateDown {
  static uint lane(uint lane, uint operand) { return (lane + operand) % kLanes; }
};
struct RotateUp {
  static uint lane(uint lane, uint operand) { return (lane - operand) % kLanes; }
};
struct Quad {
  static uint lane(uint lane, uint operand) {
    return operand < 4 ? lane / 4 * 4 + operand : kLanes;
  }
};
struct First {
  static uint lane(uint, uint) { return 0; }
};

template <typename T>
inline const char* broadcast(Exchange& exchange) {
  for (uint lane = 1; lane < kLanes; ++lane)
    if (is_active(exchange, lane) && exchange.operand[lane] != exchange.operand[0])
      return "the lane to broadcast differs between lanes";
  return permute<T, Direct, false>(exchange);
}

inline const char* ballot(Exchange& exchange) {
  ulong votes = 0;
  for (uint lane = 0; lane < kLanes; ++lane)
    if (is_active(exchange, lane) && exchange.operand[lane] != 0) votes |= 1ul << lane;
  for (uint lane = 0; lane < kLanes; ++lane) value_of<ulong>(exchange, lane) = votes;
  return nullptr;
}

}  // namespace host

#define METAL_HOST_REDUCE(name, Op)                                                 \
  template <typename A>                                                             \
  inline host::plain_t<A> simd_##name(const A& a, METAL_HOST_LINE) {                \
    using T = host::plain_t<A>;                                                     \
    return host::meet<T>(a, 0, host::reduce<T, host::Op, 32>, "simd_" #name, line); \
  }                                                                                 \
  template <typename A>                                                             \
  inline host::plain_t<A> quad_##name(const A& a, METAL_HOST_LINE) {                \
    using T = host::plain_t<A>;                                                     \
    return host::meet<T>(a, 0, host::reduce<T, host::Op, 4>, "quad_" #name, line);  \
  }
METAL_HOST_REDUCE(sum, Sum)
METAL_HOST_REDUCE(product, Product)
METAL_HOST_REDUCE(max, Max)
METAL_HOST_REDUCE(min, Min)
METAL_HOST_REDUCE(and, And)
METAL_HOST_REDUCE(or, Or)
METAL_HOST_REDUCE(xor, Xor)

#define METAL_HOST_PREFIX(name, Op, inclusive)                                     \
  template <typename A>                                                            \
  inline host::plain_t<A> name(const A& a, METAL_HOST_LINE) {                      \
    using T = host::plain_t<A>;                                                    \
    return host::meet<T>(a, 0, host::prefix<T, host::Op, inclusive>, #name, line); \
  }
METAL_HOST_PREFIX(simd_prefix_inclusive_sum, Sum, true)
METAL_HOST_PREFIX(simd_prefix_exclusive_sum, Sum, false)
METAL_HOST_PREFIX(simd_prefix_inclusive_product, Product, true)
METAL_HOST_PREFIX(simd_prefix_exclusive_product, Product, false)

#define METAL_HOST_PERMUTE(name, From, keeps)                                           \
  template <typename A>                                                                 \
  inline host::plain_t<A> name(const A& a, ushort operand, METAL_HOST_LINE) {           \
    using T = host::plain_t<A>;                                                         \
    return host::meet<T>(a, operand, host::permute<T, host::From, keeps>, #name, line); \
  }
METAL_HOST_PERMUTE(simd_shuffle, Direct, false)
METAL_HOST_PERMUTE(simd_shuffle_down, Down, true)
METAL_HOST_PERMUTE(simd_shuffle_up, Up, true)
METAL_HOST_PERMUTE(simd_shuffle_xor, Across, false)
METAL_HOST_PERMUTE(simd_shuffle_rotate_down, RotateDown, false)
METAL_HOST_PERMUTE(simd_shuffle_rotate_up, RotateUp, false)
METAL_HOST_PERMUTE(quad_shuffle, Quad, false)
METAL_HOST_PERMUTE(quad_shuffle_xor, Across, false)
METAL_HOST_PERMUTE(quad_broadcast, Quad, false)

template <typename A>
inline host::plain_t<A> simd_broadcast(const A& a, ushort lane, METAL_HOST_LINE) {
  using T = host::plain_t<A>;
  return host::meet<T>(a, lane, host::broadcast<T>, "simd_broadcast", line);
}
template <typename A>
inline host::plain_t<A> simd_broadcast_first(const A& a, METAL_HOST_LINE) {
  using T = host::plain_t<A>;
  return host::meet<T>(a, 0, host::permute<T, host::First, false>, "simd_broadcast_first", line);
}

class simd_vote {
 public:
  using vote_t = ulong;
  explicit constexpr simd_vote(vote_t votes) : votes_(votes) {}
  explicit constexpr operator vote_t() const { return votes_; }
  bool all() const { return votes_ == 0xFFFFFFFFul; }
  bool any() const { return votes_ != 0; }

 private:
  vote_t votes_;
};
inline simd_vote simd_ballot(bool vote, METAL_HOST_LINE) {
  return simd_vote(host::meet<ulong>(0, vote, host::ballot, "simd_ballot", line));
}
inline bool simd_any(bool vote, METAL_HOST_LINE) { return simd_ballot(vote, line).any(); }
inline bool simd_all(bool vote, METAL_HOST_LINE) { return simd_ballot(vote, line).all(); }
inline bool simd_is_first(METAL_HOST_LINE) {
  (void)line;
  return metal_host_thread->lane == 0;
}

}  // namespace metal

#endif  // DECANT_TESTING_METAL_HOST_SHIM_SIMD_H_
