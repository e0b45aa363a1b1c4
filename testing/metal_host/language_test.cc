// The Metal shading language as the shim and the source step understand it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "testing/metal_host/library.h"
#include "testing/metal_host/test_support.h"

namespace decant::metal_host {
namespace {

using ::testing::ElementsAre;

// Plain and checked code, in ascending, descending and random order.
struct Mode {
  bool checked;
  uint64_t seed;
};

class Language : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    DECANT_SKIP_WITHOUT_METAL_COMPILER();
    std::ifstream file(DECANT_METAL_HOST_TESTDATA "/language.metal");
    const std::string source{std::istreambuf_iterator<char>(file), {}};
    library_.emplace(source, CompileOptions{.checked = GetParam().checked});
  }
  RunOptions options() const { return {.seed = GetParam().seed}; }
  static std::vector<float> values(const Memory& memory) {
    const auto span = memory.as<float>();
    return {span.begin(), span.end()};
  }
  std::optional<Library> library_;
};
INSTANTIATE_TEST_SUITE_P(Modes, Language,
                         ::testing::Values(Mode{false, 0}, Mode{false, 1}, Mode{false, 2},
                                           Mode{false, 3}, Mode{true, 0}, Mode{true, 4}),
                         [](const auto& test) {
                           return std::string(test.param.checked ? "Checked" : "Plain") +
                                  std::to_string(test.param.seed);
                         });

TEST_P(Language, NamesKernels) {
  EXPECT_THAT(
      library_->kernel_names(),
      ::testing::UnorderedElementsAre("in_a_namespace", "vectors", "scalars", "constants", "lanes",
                                      "groups", "row_sums_f16_128", "row_sums_f32_256"));
}

TEST_P(Language, Vectors) {
  struct Args {
    int ne = 1;
    int64_t nb = 2;
    alignas(16) std::array<float, 4> v{1, 2, 3, 4};
    std::array<float, 3> p{5, 6, 7};
    std::array<uint8_t, 4> c{1, 2, 3, 4};
  };
  const Memory out(20 * 4, "out");
  library_->kernel("vectors").run({Arg::value(Args{}), Arg::buffer(out)}, {1}, {1}, {}, options());
  EXPECT_THAT(values(out), ElementsAre(3.5, 2, 1, 1, 5.5, 5, 3.5, -1, 5.5 * 5 + 5 * 6 + 3.5 * 7 + 5,
                                       1, 5, 0x3F80, 4, 6, 3, 4, 8, 1, 9, 9));
}

TEST_P(Language, Scalars) {
  const Memory q(36, "q", 2), out(16 * 4, "out");
  q.as<uint16_t>()[9] = 0x3800;  // 0.5
  for (int i = 0; i < 16; ++i) q.as<uint8_t>()[20 + i] = static_cast<uint8_t>(i);
  library_->kernel("scalars").run({Arg::buffer(q), Arg::buffer(out)}, {1}, {1}, {}, options());
  EXPECT_THAT(values(out),
              ElementsAre(6, 1.5, 11, 8 + 31 + 3 - 1, 10 + 3 + 2 + 1 + 0.5, 4 + 2 + 8 + 16 + 6,
                          65504, 7, 60, 2048, 256, 1, 2 + 1.5 + 4 + 5 + 1, -56, 15 + 1 + 2, 1));
}

TEST_P(Language, FunctionConstants) {
  const Memory out(4, "out"), extra(4, "extra");
  extra.as<float>()[0] = 0.5f;
  const auto run = [&](const Constants& constants, const Arg& argument) {
    library_->kernel("constants", constants)
        .run({Arg::buffer(out), argument}, {1}, {1}, {}, options());
    return out.as<float>()[0];
  };
  const auto with = [](bool bonus, int value) {
    return Constants().set(0, bonus).set("bonus", value);
  };
  EXPECT_EQ(run(with(false, 3), Arg::none()), -1);  // needs no second argument then
  EXPECT_EQ(run(with(true, 3), Arg::buffer(extra)), 3.5);
  EXPECT_EQ(run(with(true, 4), Arg::buffer(extra)), 4.5);
  EXPECT_TRUE(is_failure(failure_of([&] { run(with(true, 4), Arg::none()); }),
                         FailureKind::kBinding, {"argument 1 'extra'"}));
  EXPECT_TRUE(is_failure(failure_of([&] { library_->kernel("constants"); }),
                         FailureKind::kUnknownKernel, {"'with_bonus' has no value"}));
  EXPECT_TRUE(is_failure(
      failure_of([&] { library_->kernel("constants", Constants().set(0, true).set(1, 2.0)); }),
      FailureKind::kBinding, {"'bonus' is a int of 4 bytes, got 8"}));
}

TEST_P(Language, Simdgroups) {
  const Memory out(15 * 32 * 4, "out");
  library_->kernel("lanes").run({Arg::buffer(out)}, {1}, {32}, {}, options());
  for (int lane = 0; lane < 32; ++lane) {
    std::vector<float> got;
    for (size_t i = 0; i < 15; ++i)
      got.push_back(out.as<float>()[i * 32 + static_cast<size_t>(lane)]);
    const int quad = lane / 4 * 4;
    EXPECT_THAT(got,
                ElementsAre(496, 30, lane ^ 1, 31 - lane, lane < 28 ? lane + 4 : lane,
                            lane >= 4 ? lane - 4 : lane, (lane + 4) % 32, 4, 496,
                            lane * (lane - 1) / 2, lane + 1, 31, 3, 1, 4 * quad + 6 + quad + 1))
        << lane;
  }
}

TEST_P(Language, Threadgroups) {
  constexpr int kX = 3, kY = 2;
  const Memory out(kX * kY * 64 * 4, "out"), count(4, "count"), sum(4, "sum");
  const Kernel kernel = library_->kernel("groups");
  EXPECT_EQ(kernel.static_threadgroup_bytes(), 2 * 32 * 4 + 4 + 4 + 8 + 64 * 16);
  kernel.run({Arg::buffer(out), Arg::buffer(count), Arg::buffer(sum)}, {kX, kY}, {32, 2}, {256},
             options());
  EXPECT_EQ(count.as<uint32_t>()[0], kX * kY * 64);
  EXPECT_EQ(sum.as<float>()[0], kX * kY * 32);
  for (int group = 0; group < kX * kY; ++group)
    for (int flat = 0; flat < 63; ++flat)
      ASSERT_EQ(out.as<float>()[static_cast<size_t>(group * 64 + flat)],
                group % kX * 32 + (31 - flat % 32) + (63 - flat) + (flat ^ 1) + 5)
          << group << " " << flat;
  EXPECT_EQ(out.as<float>()[63], 128 + 1000 + 20000 + 100000 + 6000000);
}

TEST_P(Language, InstantiatedTemplates) {
  const Memory x(3 * 128 * 2, "x"), y(256 * 4, "y"), out(3 * 4, "out");
  for (size_t i = 0; i < 3 * 128; ++i) x.as<uint16_t>()[i] = i < 128 ? 0x3C00 : 0x4000;  // 1, 2
  for (float& value : y.as<float>()) value = 0.25f;
  library_->kernel("row_sums_f16_128")
      .run({Arg::buffer(x), Arg::buffer(out)}, {3}, {32}, {}, options());
  EXPECT_THAT(values(out), ElementsAre(128, 256, 256));
  library_->kernel("row_sums_f32_256")
      .run({Arg::buffer(y), Arg::buffer(out)}, {1}, {32}, {}, options());
  EXPECT_EQ(out.as<float>()[0], 64);
}

TEST_P(Language, Namespaces) {
  const Memory out(40 * 4, "out");
  library_->kernel("in_a_namespace").run({Arg::buffer(out)}, {5}, {8}, {}, options());
  for (size_t i = 0; i < 40; ++i) EXPECT_EQ(out.as<float>()[i], static_cast<float>(i));
}

// What Metal's compiler refuses is refused here, with the line.
TEST(LanguageErrors, AreCompileErrors) {
  DECANT_SKIP_WITHOUT_METAL_COMPILER();
  const auto log = [](const std::string& text) {
    return failure_of([&] { Library("#include <metal_stdlib>\nusing namespace metal;\n" + text); });
  };
  const auto expect = [&](const std::string& text, std::initializer_list<const char*> words) {
    EXPECT_TRUE(is_failure(log(text), FailureKind::kCompile, words)) << text;
  };
  expect("kernel void k(device float* x [[buffer(0)]]) { x[0] = y; }",
         {"program_source:3:", "undeclared identifier 'y'"});
  expect("double x;", {"program_source:3: error: 'double'"});
  expect("kernel void k(device float* x) {}", {"program_source:3: error: parameter 'x'"});
  expect("kernel void k(float* x [[buffer(0)]]) {}", {"'x' has no address space"});
  expect("kernel void k(constant float& x [[buffer(0)]]) { x = 1; }",
         {"program_source:3:", "const"});
  expect("kernel void k(device float* x [[buffer(0)]]) { threadgroup float s = 0; x[0] = s; }",
         {"program_source:3: error:", "initializer"});
  expect("kernel void k(device float* x [[buffer(0)]]) { x[0] = max(x[0], 1); }", {"ambiguous"});
  expect("kernel void k(device half4* x [[buffer(0)]]) { float4 f = x[0]; x[1] = half4(f); }",
         {"program_source:3:"});
  expect("template [[host_name(\"t\")]] kernel void t<float>(device float*);",
         {"host_name(\"t\")"});
  expect("#include \"missing.h\"", {"program_source:3:", "missing.h"});
}

TEST(LanguageErrors, UnknownKernelNamesTheOthers) {
  DECANT_SKIP_WITHOUT_METAL_COMPILER();
  const Library library("kernel void only(device float* x [[buffer(0)]]) { x[0] = 1; }");
  EXPECT_TRUE(is_failure(failure_of([&] { library.kernel("other"); }), FailureKind::kUnknownKernel,
                         {"other", "only"}));
}

}  // namespace
}  // namespace decant::metal_host
