// Where the compiler's checks call. Defined in every compiled library, hidden, so that they never
// meet a sanitizer's own runtime in the program that loads it.
#ifndef DECANT_TESTING_METAL_HOST_SHIM_SANITIZER_H_
#define DECANT_TESTING_METAL_HOST_SHIM_SANITIZER_H_

#include "abi.h"

// Not inlined, or the return address would be that of the kernel's caller.
#define METAL_HOST_HOOK                                           \
  extern "C" __attribute__((visibility("hidden"), used, noinline, \
                            disable_sanitizer_instrumentation, no_sanitize("undefined")))

namespace metal_host {
// The part that we read of what the compiler passes first.
struct SourceLocation {
  const char* file;
  unsigned line, column;
};
struct TypeMismatch {
  SourceLocation where;
  const void* type;
  unsigned char log_alignment, access;
};
}  // namespace metal_host

METAL_HOST_HOOK void __ubsan_handle_type_mismatch_v1_abort(metal_host::TypeMismatch* data,
                                                           void* pointer) {
  metal_host_misaligned(pointer, 1u << data->log_alignment, __builtin_return_address(0));
}
METAL_HOST_HOOK void __ubsan_handle_out_of_bounds_abort(void*, unsigned long index) {
  metal_host_index(index, __builtin_return_address(0));
}
METAL_HOST_HOOK void __ubsan_handle_divrem_overflow_abort(void*, unsigned long, unsigned long) {
  metal_host_division(__builtin_return_address(0));
}

#ifdef METAL_HOST_CHECKED
#define METAL_HOST_ACCESS(name, bytes, write)                              \
  METAL_HOST_HOOK void __tsan_##name##bytes(void* address) {               \
    metal_host_access(address, bytes, write, __builtin_return_address(0)); \
  }                                                                        \
  METAL_HOST_HOOK void __tsan_unaligned_##name##bytes(void* address) {     \
    metal_host_access(address, bytes, write, __builtin_return_address(0)); \
  }
METAL_HOST_ACCESS(read, 1, 0)
METAL_HOST_ACCESS(read, 2, 0)
METAL_HOST_ACCESS(read, 4, 0)
METAL_HOST_ACCESS(read, 8, 0)
METAL_HOST_ACCESS(read, 16, 0)
METAL_HOST_ACCESS(write, 1, 1)
METAL_HOST_ACCESS(write, 2, 1)
METAL_HOST_ACCESS(write, 4, 1)
METAL_HOST_ACCESS(write, 8, 1)
METAL_HOST_ACCESS(write, 16, 1)
METAL_HOST_HOOK void* __tsan_memcpy(void* to, const void* from, unsigned long bytes) {
  metal_host_access(from, bytes, 0, __builtin_return_address(0));
  metal_host_access(to, bytes, 1, __builtin_return_address(0));
  return __builtin_memcpy(to, from, bytes);
}
METAL_HOST_HOOK void* __tsan_memmove(void* to, const void* from, unsigned long bytes) {
  metal_host_access(from, bytes, 0, __builtin_return_address(0));
  metal_host_access(to, bytes, 1, __builtin_return_address(0));
  return __builtin_memmove(to, from, bytes);
}
METAL_HOST_HOOK void* __tsan_memset(void* to, int value, unsigned long bytes) {
  metal_host_access(to, bytes, 1, __builtin_return_address(0));
  return __builtin_memset(to, value, bytes);
}
METAL_HOST_HOOK void __tsan_init() {}
METAL_HOST_HOOK void __tsan_func_entry(void*) {}
METAL_HOST_HOOK void __tsan_func_exit() {}
#endif

#endif  // DECANT_TESTING_METAL_HOST_SHIM_SANITIZER_H_
