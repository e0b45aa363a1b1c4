// What the executor's tests share.
#ifndef DECANT_TESTING_METAL_HOST_TEST_SUPPORT_H_
#define DECANT_TESTING_METAL_HOST_TEST_SUPPORT_H_

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>

#include "testing/metal_host/compiler.h"
#include "testing/metal_host/failure.h"

// As the first statement of a fixture's SetUp.
#define DECANT_SKIP_WITHOUT_METAL_COMPILER()                                         \
  if (const std::string why = ::decant::metal_host::why_no_compiler(); !why.empty()) \
  GTEST_SKIP() << "SKIPPED: Metal kernels are not run: " << why

namespace decant::metal_host {

// The failure that `body` throws, if it throws one.
inline std::optional<Failure> failure_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Failure& failure) {
    return failure;
  }
  return std::nullopt;
}

// Passes if `failure` is of this kind and its text has every one of the words.
inline ::testing::AssertionResult is_failure(const std::optional<Failure>& failure,
                                             FailureKind kind,
                                             std::initializer_list<const char*> words) {
  if (!failure) return ::testing::AssertionFailure() << "no failure";
  if (failure->kind != kind)
    return ::testing::AssertionFailure() << "expected " << to_string(kind) << ", got "
                                         << to_string(failure->kind) << ": " << failure->what();
  for (const char* word : words)
    if (std::string(failure->what()).find(word) == std::string::npos)
      return ::testing::AssertionFailure() << "no '" << word << "' in: " << failure->what();
  return ::testing::AssertionSuccess();
}

}  // namespace decant::metal_host

#endif  // DECANT_TESTING_METAL_HOST_TEST_SUPPORT_H_
