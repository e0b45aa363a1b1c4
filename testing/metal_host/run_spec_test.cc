// A kernel of another project's making, run as a JSON file describes it.
#include "testing/metal_host/run_spec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "decant/kernels/float16.h"
#include "testing/metal_host/test_support.h"

namespace decant::metal_host {
namespace {

const std::filesystem::path kTestData = DECANT_METAL_HOST_TESTDATA;

template <typename T>
std::vector<T> as(const std::vector<std::byte>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

class RunSpecTest : public ::testing::Test {
 protected:
  void SetUp() override { DECANT_SKIP_WITHOUT_METAL_COMPILER(); }
};

TEST_F(RunSpecTest, RunsAForeignKernel) {
  RunSpec spec = read_spec(kTestData / "ema.json");
  constexpr size_t kRows = 3, kLength = 128;
  const auto x = as<uint16_t>(spec.buffers.at("x").content);
  ASSERT_EQ(x.size(), kRows * kLength);
  for (const bool checked : {false, true}) {
    spec.options.checked = checked;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      const auto y = as<float>(run(spec, {.seed = seed}).at("y"));
      ASSERT_EQ(y.size(), x.size());
      for (size_t row = 0; row < kRows; ++row) {
        double state = 0;
        for (size_t t = 0; t < kLength; ++t) {
          const size_t i = row * kLength + t;
          state = 0.875 * state + 0.125 * static_cast<double>(f32_from_f16(x[i]));
          ASSERT_NEAR(y[i], state, 1e-6) << "row " << row << ", step " << t;
        }
      }
    }
  }
}

// One row more than there is memory for.
TEST_F(RunSpecTest, FindsABugInTheDescription) {
  RunSpec spec = read_spec(kTestData / "ema.json");
  spec.dispatches[0].groups.y = 4;
  EXPECT_TRUE(is_failure(failure_of([&] { run(spec, {}); }), FailureKind::kOutOfBounds,
                         {"ema_f16", "argument 1 'x'", "768 bytes", "program_source:"}));
}

TEST(RunSpecFile, ErrorsNameTheFile) {
  const auto path = std::filesystem::path(::testing::TempDir()) / "broken_spec.json";
  std::ofstream(path) << R"({"source": "nowhere.metal", "buffers": {}, "dispatches": []})";
  EXPECT_THROW(
      try { read_spec(path); } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("nowhere.metal"), std::string::npos);
        throw;
      },
      std::runtime_error);
  std::ofstream(path) << R"({"source": )";
  EXPECT_THROW(
      try { read_spec(path); } catch (const std::runtime_error& error) {
        EXPECT_NE(std::string(error.what()).find("broken_spec.json"), std::string::npos);
        throw;
      },
      std::runtime_error);
}

TEST(RunSpecFile, FormatsValues) {
  const RunSpec spec = read_spec(kTestData / "ema.json");
  EXPECT_EQ(format_values("f32", spec.buffers.at("y").content, 2), "nan nan ...");
}

}  // namespace
}  // namespace decant::metal_host
