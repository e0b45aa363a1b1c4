// Every kind of bug that the executor is there to find, planted, and found.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "testing/metal_host/library.h"
#include "testing/metal_host/test_support.h"

namespace decant::metal_host {
namespace {

using enum FailureKind;

class Detectors : public ::testing::Test {
 protected:
  void SetUp() override {
    DECANT_SKIP_WITHOUT_METAL_COMPILER();
    std::ifstream file(DECANT_METAL_HOST_TESTDATA "/planted_bugs.metal");
    const std::string source{std::istreambuf_iterator<char>(file), {}};
    plain_.emplace(source);
    checked_.emplace(source, CompileOptions{.checked = true});
  }
  // The failure of a run of one group, in plain or checked code.
  static std::optional<Failure> run(const Library& library, const char* kernel,
                                    std::vector<Arg> args, uint32_t threads,
                                    std::vector<size_t> shared = {}, uint64_t seed = 0,
                                    uint32_t groups = 1) {
    return failure_of(
        [&] { library.kernel(kernel).run(args, {groups}, {threads}, shared, {.seed = seed}); });
  }
  std::optional<Library> plain_, checked_;
  Memory x_{64 * 4, "x"}, y_{128 * 4, "y"};
};

TEST_F(Detectors, OutOfBounds) {
  const Memory short_x(32 * 4, "x");
  for (const Library* library : {&*plain_, &*checked_}) {
    EXPECT_TRUE(
        is_failure(run(*library, "reads_past_the_end", {Arg::buffer(short_x), Arg::buffer(y_)}, 32),
                   kOutOfBounds, {"thread 31", "byte 128 of argument 0 'x'", "128 bytes", ":8"}));
    EXPECT_FALSE(run(*library, "reads_past_the_end", {Arg::buffer(x_), Arg::buffer(y_)}, 32));
    EXPECT_TRUE(
        is_failure(run(*library, "overruns_threadgroup_memory", {Arg::buffer(y_)}, 32, {32 * 4}),
                   kOutOfBounds, {"thread 31", "byte 128 of threadgroup argument 0", ":14"}));
    EXPECT_TRUE(is_failure(run(*library, "overruns_a_private_array", {Arg::buffer(y_)}, 32),
                           kOutOfBounds, {"thread 24", "index 4", ":22"}));
    EXPECT_FALSE(run(*library, "overruns_a_private_array", {Arg::buffer(y_)}, 24));
  }
}

TEST_F(Detectors, Divergence) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    EXPECT_TRUE(is_failure(
        run(*plain_, "barrier_in_a_branch", {Arg::buffer(y_)}, 64, {}, seed), kDivergence,
        {"threads 0-39: at threadgroup_barrier in line 27", "threads 40-63: returned"}));
    EXPECT_FALSE(run(*plain_, "barrier_in_a_branch", {Arg::buffer(y_)}, 32, {}, seed));
    EXPECT_TRUE(is_failure(run(*plain_, "simd_sum_in_a_branch", {Arg::buffer(y_)}, 32, {}, seed),
                           kDivergence, {"thread 0: at simd_sum in line 34", "returned"}));
    const auto returns = [&](uint32_t n) {
      return run(*plain_, "returns_before_simd_sum", {Arg::buffer(y_), Arg::value(n)}, 32, {},
                 seed);
    };
    EXPECT_TRUE(is_failure(returns(20), kDivergence,
                           {"threads 0-19: at simd_sum in line 41", "threads 20-31: returned"}));
    EXPECT_FALSE(returns(32));
  }
  EXPECT_TRUE(is_failure(run(*plain_, "shuffles_too_far", {Arg::buffer(y_)}, 32), kSimd,
                         {"simd_shuffle", "beyond 31", "46"}));
}

TEST_F(Detectors, UninitializedThreadgroupMemory) {
  EXPECT_FALSE(run(*plain_, "reads_before_writing", {Arg::buffer(y_)}, 32));
  EXPECT_TRUE(std::isnan(y_.as<float>()[31])) << "poison shows in the result";
  EXPECT_EQ(y_.as<float>()[30], 1);
  EXPECT_TRUE(is_failure(run(*checked_, "reads_before_writing", {Arg::buffer(y_)}, 32),
                         kUninitialized, {"thread 31", "byte 124", "threadgroup variable", ":54"}));
  EXPECT_FALSE(run(*checked_, "reads_before_writing", {Arg::buffer(y_)}, 31));
}

TEST_F(Detectors, MisalignedVectors) {
  for (const Library* library : {&*plain_, &*checked_})
    EXPECT_TRUE(
        is_failure(run(*library, "misaligned_vector", {Arg::buffer(x_), Arg::buffer(y_)}, 8),
                   kMisaligned, {"thread 0", "byte 2 of x", "8-byte alignment", ":59"}));
  EXPECT_TRUE(
      is_failure(run(*plain_, "misaligned_vector", {Arg::buffer(x_), Arg::buffer(y_, 8)}, 8),
                 kBinding, {"argument 1 'y'", "16-byte alignment", "8"}));
}

TEST_F(Detectors, DivisionByZero) {
  for (const Library* library : {&*plain_, &*checked_}) {
    const auto divide = [&](int n) {
      return run(*library, "divides_by_zero", {Arg::buffer(y_), Arg::value(n)}, 32);
    };
    EXPECT_TRUE(is_failure(divide(0), kArithmetic, {"thread 0", "division by zero", ":64"}));
    EXPECT_FALSE(divide(3));
  }
}

TEST_F(Detectors, TooMuchThreadgroupMemory) {
  const auto with = [&](size_t bytes) {
    return run(*plain_, "tree_sum", {Arg::buffer(x_), Arg::buffer(y_)}, 64, {bytes});
  };
  EXPECT_FALSE(with(32768));
  EXPECT_TRUE(is_failure(with(32768 + 16), kThreadgroupMemory, {"tree_sum", "32784", "32768"}));
}

TEST_F(Detectors, WrongOrMissingBindings) {
  const auto bind = [&](std::vector<Arg> args, std::vector<size_t> shared = {256}) {
    return run(*plain_, "tree_sum", std::move(args), 64, std::move(shared));
  };
  EXPECT_FALSE(bind({Arg::buffer(x_), Arg::buffer(y_)}));
  EXPECT_TRUE(is_failure(bind({Arg::buffer(x_)}), kBinding, {"argument 1", "nothing is bound"}));
  EXPECT_TRUE(is_failure(bind({Arg::none(), Arg::buffer(y_)}), kBinding, {"argument 0"}));
  EXPECT_TRUE(is_failure(bind({Arg::buffer(x_), Arg::value(1.0f)}), kBinding,
                         {"argument 1", "may write it"}));
  EXPECT_TRUE(
      is_failure(bind({Arg::buffer(x_), Arg::buffer(y_)}, {}), kBinding, {"threadgroup memory 0"}));
  EXPECT_TRUE(is_failure(run(*plain_, "divides_by_zero", {Arg::buffer(y_), Arg::value('c')}, 1),
                         kBinding, {"argument 1 'n'", "reads 4 bytes, 1 are bound"}));
}

TEST_F(Detectors, UseAfterRelease) {
  auto gone = std::make_unique<Memory>(256, "gone");
  const DispatchPlan plan = plain_->kernel("tree_sum")
                                .plan(std::vector<Arg>{Arg::buffer(*gone), Arg::buffer(y_)}, {1},
                                      {64}, std::vector<size_t>{256});
  gone.reset();
  EXPECT_TRUE(is_failure(failure_of([&] { run_dispatch(plan, {}); }), kReleased,
                         {"tree_sum", "reads byte", "gone"}));
}

// Schedules differ in their results where threads race, and nowhere else.
TEST_F(Detectors, RacesShowBetweenSchedules) {
  for (int i = 0; i < 64; ++i) x_.as<float>()[i] = static_cast<float>(i + 1);
  const auto results = [&](const char* kernel, size_t count) {
    std::set<std::vector<float>> all;
    for (uint64_t seed = 0; seed < 16; ++seed) {
      std::vector<Arg> args = {Arg::buffer(y_)};
      if (std::string_view(kernel).starts_with("tree")) args.insert(args.begin(), Arg::buffer(x_));
      const auto failure = run(*plain_, kernel, args, count == 32 ? 32 : 64, {256}, seed);
      EXPECT_FALSE(failure) << failure->what();
      const auto y = y_.as<float>();
      // NaN is unequal to itself.
      std::vector<float> result(y.begin(), y.begin() + static_cast<std::ptrdiff_t>(count));
      for (float& value : result)
        if (std::isnan(value)) value = -1;
      all.insert(result);
    }
    return all;
  };
  EXPECT_EQ(results("tree_sum", 1), (std::set<std::vector<float>>{{64 * 65 / 2}}));
  EXPECT_GT(results("tree_sum_without_barrier", 1).size(), 1u);
  // Here lanes do meet at the simd operation, so only the checked build finds it.
  EXPECT_EQ(results("hands_over_without_barrier", 32).size(), 1u);
}

// The checked build names both sides, whatever the schedule.
TEST_F(Detectors, RacesAreNamed) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    const std::vector<Arg> two = {Arg::buffer(x_), Arg::buffer(y_)};
    EXPECT_FALSE(run(*checked_, "tree_sum", two, 64, {256}, seed));
    EXPECT_TRUE(is_failure(
        run(*checked_, "tree_sum_without_barrier", two, 64, {256}, seed), kRace,
        {"threadgroup argument 0", "writes", "reads", ":75", "no barrier stands between them"}));
    EXPECT_TRUE(
        is_failure(run(*checked_, "hands_over_without_barrier", {Arg::buffer(y_)}, 32, {16}, seed),
                   kRace, {"threadgroup argument 0", ":90", "no barrier"}));
    EXPECT_TRUE(
        is_failure(run(*checked_, "barrier_of_the_wrong_kind", {Arg::buffer(y_)}, 64, {}, seed),
                   kRace, {"of y", ":99", "not of the kind mem_device"}));
    EXPECT_TRUE(
        is_failure(run(*checked_, "groups_share_an_element", {Arg::buffer(y_)}, 1, {}, seed, 4),
                   kRace, {"different threadgroups", ":104"}));
  }
}

}  // namespace
}  // namespace decant::metal_host
