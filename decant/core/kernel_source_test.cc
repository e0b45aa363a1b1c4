#include "decant/core/kernel_source.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "decant/core/error.h"

namespace decant {
namespace {

constexpr std::string_view kParams = "decant/ops/gelu_mul/params.h";

size_t count(std::string_view text, std::string_view what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string_view::npos; at = text.find(what, at + 1))
    ++found;
  return found;
}

TEST(KernelSource, EmbeddedFilesAreSortedAndWhole) {
  const auto all = embedded_sources();
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end(),
                             [](const auto& a, const auto& b) { return a.path < b.path; }));
  const std::string_view text = embedded_source(kParams);
  EXPECT_TRUE(text.starts_with("// Shared by host and device code.\n"));
  EXPECT_TRUE(text.ends_with("#endif  // DECANT_OPS_GELU_MUL_PARAMS_H_\n"));
  EXPECT_EQ(count(text, ";"), 4u);  // what CMake's lists would swallow
}

TEST(KernelSource, UnknownFileIsNamed) {
  try {
    embedded_source("decant/ops/none/kernels.cu");
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kKernelNotFound);
    EXPECT_NE(std::string_view(error.what()).find("decant/ops/none/kernels.cu"),
              std::string_view::npos);
  }
  EXPECT_THROW(flatten_source("a.cu", "#include \"decant/none.h\"\n"), Error);
}

TEST(KernelSource, FlattenReplacesIncludesOnceAndKeepsLines) {
  const std::string include = "#include \"" + std::string(kParams) + "\"\n";
  const std::string text =
      "#include <cstdint>\n" + include + "first\n  # include <kept>  \n" + include + "last";
  const std::string_view keep[] = {"kept"};
  const std::string flat = flatten_source("a.cu", text, keep);
  EXPECT_EQ(count(flat, "struct GeluMulParams"), 1u);
  EXPECT_EQ(count(flat, "<cstdint>"), 0u);
  EXPECT_EQ(count(flat, "# include <kept>"), 1u);
  // Line 3 is what follows the include, and the second include is an empty line 5.
  EXPECT_EQ(count(flat, "#line 3 \"a.cu\"\nfirst\n"), 1u);
  EXPECT_TRUE(flat.ends_with("\n\nlast\n")) << flat;
  EXPECT_TRUE(flat.starts_with("#line 1 \"a.cu\"\n\n#line 1 \"" + std::string(kParams) + "\"\n"));
}

}  // namespace
}  // namespace decant
