#include "decant/core/cache_dir.h"

#include <cstdlib>

namespace decant {

std::string cache_dir() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  if (std::string own = variable("DECANT_CACHE_DIR"); !own.empty()) return own;
  if (const std::string base = variable("XDG_CACHE_HOME"); !base.empty()) return base + "/decant";
  if (const std::string home = variable("HOME"); !home.empty()) return home + "/.cache/decant";
  return {};
}

}  // namespace decant
