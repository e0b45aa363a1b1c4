#include "testing/metal_host/symbols.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <sstream>
#include <utility>

namespace decant::metal_host {
namespace {

std::string output_of(const std::string& command) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  char part[512];
  while (pipe && fgets(part, sizeof part, pipe.get()) != nullptr) text += part;
  return text;
}

std::string look_up(uint64_t offset, const char* library_path) {
  // Two lines a frame: function, file:line. The innermost inlined one comes first.
  std::istringstream lines(
      output_of(fmt::format("addr2line -f -i -e '{}' {:#x} 2>/dev/null", library_path, offset)));
  std::string function, place;
  while (std::getline(lines, function) && std::getline(lines, place)) {
    if (place.find(DECANT_METAL_HOST_SHIM) != std::string::npos || place.starts_with("?") ||
        place.find("kernel table") != std::string::npos)
      continue;
    place = place.substr(0, place.find(' '));  // " (discriminator 2)"
    return place.substr(place.rfind('/') + 1);
  }
  return "an unknown line";
}

}  // namespace

std::string source_line(const void* code, bool returned, const char* library_path) {
  Dl_info info{};
  if (dladdr(code, &info) == 0) return "an unknown line";
  const auto offset = static_cast<uint64_t>(static_cast<const char*>(code) -
                                            static_cast<const char*>(info.dli_fbase)) -
                      (returned ? 1 : 0);
  static std::map<std::pair<std::string, uint64_t>, std::string> known;
  std::string& line = known[{library_path, offset}];
  if (line.empty()) line = look_up(offset, library_path);
  return line;
}

}  // namespace decant::metal_host
