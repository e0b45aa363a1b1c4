#include "tools/decant/simd.h"

#include <fmt/core.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cctype>

#include "tools/decant/console.h"

namespace decant::cli {

void force_simd(const std::string& name) {
  std::string known;
  for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    std::string target_name = hwy::TargetName(target);
    std::transform(target_name.begin(), target_name.end(), target_name.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (target_name == name) {
      hwy::SetSupportedTargetsForTest(target);
      hwy::GetChosenTarget().Update(hwy::SupportedTargets());
      return;
    }
    known += (known.empty() ? "" : ", ") + target_name;
  }
  throw UsageError(fmt::format("--simd: expected one of {}, got '{}'", known, name));
}

}  // namespace decant::cli
