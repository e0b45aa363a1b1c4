#include "testing/simd_targets.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "testing/devices.h"

// The list of targets comes from compiling this very file for each of them.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "testing/simd_targets.cc"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace decant::testing {
namespace HWY_NAMESPACE {
int64_t this_target() { return HWY_TARGET; }
}  // namespace HWY_NAMESPACE
}  // namespace decant::testing
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace decant::testing {

HWY_EXPORT(this_target);

void for_each_simd_target(const std::function<void(const std::string&)>& body) {
  if (on_metal()) return body("metal");  // SIMD targets are the CPU's
  hwy::SetSupportedTargetsForTest(0);
  const int64_t supported = hwy::SupportedTargets();
  int ran = 0;
  for (int64_t rest = HWY_TARGETS; rest != 0; rest &= rest - 1) {
    const int64_t target = rest & -rest;
    if (!(supported & target)) {
      fmt::print(stderr, "SKIPPED: this machine has no {}\n", hwy::TargetName(target));
      continue;
    }
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    EXPECT_EQ(HWY_DYNAMIC_DISPATCH(this_target)(), target)
        << hwy::TargetName(target) << " was not dispatched";
    SCOPED_TRACE(hwy::TargetName(target));
    body(hwy::TargetName(target));
    ++ran;
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  EXPECT_GT(ran, 0) << "no SIMD target ran";
}

}  // namespace decant::testing
#endif
