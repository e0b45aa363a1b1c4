// Atomics, relaxed, as MSL has them. All threads of a dispatch share one processor thread, so a
// plain access is atomic; the race detector is told of it.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_ATOMIC_H_
#define DECANT_TESTING_METAL_HOST_SHIM_ATOMIC_H_

#include "types.h"

namespace metal {

enum memory_order { memory_order_relaxed };

template <typename T>
struct atomic {
  T raw;
};
using atomic_int = atomic<int>;
using atomic_uint = atomic<uint>;
using atomic_ulong = atomic<ulong>;
using atomic_bool = atomic<bool>;
using atomic_float = atomic<float>;

namespace host {
// Keeps the value from being converted before it is known what to.
template <typename T>
struct exactly {
  using type = T;
};
template <typename T>
using exactly_t = typename exactly<T>::type;

template <typename T, typename F>
__attribute__((disable_sanitizer_instrumentation)) inline T update(volatile atomic<T>* object,
                                                                   F next) {
  metal_host_atomic(object, sizeof(T), 1);
  const T before = object->raw;
  object->raw = next(before);
  return before;
}
}  // namespace host

template <typename T>
__attribute__((disable_sanitizer_instrumentation)) inline T atomic_load_explicit(
    const volatile atomic<T>* object, memory_order) {
  metal_host_atomic(object, sizeof(T), 0);
  return object->raw;
}
template <typename T>
__attribute__((disable_sanitizer_instrumentation)) inline void atomic_store_explicit(
    volatile atomic<T>* object, host::exactly_t<T> value, memory_order) {
  metal_host_atomic(object, sizeof(T), 1);
  object->raw = value;
}
template <typename T>
__attribute__((disable_sanitizer_instrumentation)) inline bool
atomic_compare_exchange_weak_explicit(volatile atomic<T>* object, T* expected,
                                      host::exactly_t<T> desired, memory_order, memory_order) {
  metal_host_atomic(object, sizeof(T), 1);
  const T before = object->raw;
  const bool same = __builtin_memcmp(const_cast<const T*>(&before), expected, sizeof(T)) == 0;
  if (same) object->raw = desired;
  *expected = before;
  return same;
}

#define METAL_HOST_ATOMIC(name, expression)                                               \
  template <typename T>                                                                   \
  inline T atomic_##name##_explicit(volatile atomic<T>* object, host::exactly_t<T> value, \
                                    memory_order) {                                       \
    return host::update(object, [value](T before) -> T { return expression; });           \
  }
METAL_HOST_ATOMIC(exchange, ((void)before, value))
METAL_HOST_ATOMIC(fetch_add, before + value)
METAL_HOST_ATOMIC(fetch_sub, before - value)
METAL_HOST_ATOMIC(fetch_max, before > value ? before : value)
METAL_HOST_ATOMIC(fetch_min, before < value ? before : value)
METAL_HOST_ATOMIC(fetch_and, before& value)
METAL_HOST_ATOMIC(fetch_or, before | value)
METAL_HOST_ATOMIC(fetch_xor, before ^ value)

}  // namespace metal

#endif  // DECANT_TESTING_METAL_HOST_SHIM_ATOMIC_H_
