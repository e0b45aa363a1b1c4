// The one exception type of the library, and the two helpers that throw it.
#ifndef DECANT_CORE_ERROR_H_
#define DECANT_CORE_ERROR_H_

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace decant {

enum class ErrorKind {
  kDeviceNotFound,
  kAllocationFailed,
  kCompilationFailed,
  kKernelNotFound,
  kCommandFailed,
  kInvalidArgument,
  kUnsupportedDtype,
  kIo,
  kGgufParse,
  kSafetensors,
};

// "InvalidArgument" for kInvalidArgument, and so on.
std::string_view to_string(ErrorKind kind);

// what() reads "<op or file>: <argument>: <expected>, got <received>".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

// Throws InvalidArgument unless `ok`. The message is only formatted on failure.
template <typename... Args>
void require(bool ok, fmt::format_string<Args...> format, Args&&... args) {
  if (!ok) [[unlikely]]
    fail(ErrorKind::kInvalidArgument, format, std::forward<Args>(args)...);
}

}  // namespace decant

#endif  // DECANT_CORE_ERROR_H_
