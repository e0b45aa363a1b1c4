// What the executor throws: one kind per detector.
#ifndef DECANT_TESTING_METAL_HOST_FAILURE_H_
#define DECANT_TESTING_METAL_HOST_FAILURE_H_

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace decant::metal_host {

enum class FailureKind {
  kCompile,            // what() is the compiler's log
  kUnknownKernel,      // no such name, or a function constant without a value
  kBinding,            // an argument missing, too small, of the wrong kind
  kLaunch,             // grid or threadgroup size
  kThreadgroupMemory,  // over 32 KB, or a length that is no multiple of 16
  kOutOfBounds,        // outside a buffer, threadgroup memory or a private array
  kReleased,           // memory of a buffer that was released
  kMisaligned,
  kUninitialized,  // threadgroup memory read before it was written
  kDivergence,     // a barrier or simd operation that not all threads reach
  kSimd,           // a simd operation with impossible operands
  kRace,
  kArithmetic,  // integer division by zero
  kValidation,  // a call that Metal's API validation refuses
  kCrash,       // any other fault
};
std::string_view to_string(FailureKind kind);  // "OutOfBounds" for kOutOfBounds, and so on

struct Failure : std::runtime_error {
  Failure(FailureKind failure_kind, const std::string& message)
      : std::runtime_error(message), kind(failure_kind) {}
  FailureKind kind;
};

template <typename... Args>
[[noreturn]] void fail(FailureKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Failure(kind, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_FAILURE_H_
