#include "decant/core/error.h"

namespace decant {

std::string_view to_string(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kDeviceNotFound:
      return "DeviceNotFound";
    case ErrorKind::kAllocationFailed:
      return "AllocationFailed";
    case ErrorKind::kCompilationFailed:
      return "CompilationFailed";
    case ErrorKind::kKernelNotFound:
      return "KernelNotFound";
    case ErrorKind::kCommandFailed:
      return "CommandFailed";
    case ErrorKind::kInvalidArgument:
      return "InvalidArgument";
    case ErrorKind::kUnsupportedDtype:
      return "UnsupportedDtype";
    case ErrorKind::kIo:
      return "Io";
    case ErrorKind::kGgufParse:
      return "GgufParse";
    case ErrorKind::kSafetensors:
      return "Safetensors";
  }
  return "Unknown";
}

}  // namespace decant
