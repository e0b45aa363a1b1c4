#include "decant/core/error.h"

#include <gtest/gtest.h>

#include <set>

#include "decant/core/buffer.h"

namespace decant {
namespace {

TEST(Error, KindsHaveNamesOfTheirOwn) {
  std::set<std::string_view> names;
  for (int kind = 0; kind <= static_cast<int>(ErrorKind::kSafetensors); ++kind)
    EXPECT_TRUE(names.insert(to_string(static_cast<ErrorKind>(kind))).second) << kind;
  EXPECT_EQ(to_string(ErrorKind::kInvalidArgument), "InvalidArgument");
  EXPECT_EQ(to_string(ErrorKind::kGgufParse), "GgufParse");
  EXPECT_FALSE(names.contains("Unknown"));
}

TEST(Error, FailThrowsKindAndText) {
  try {
    fail(ErrorKind::kIo, "{}: cannot open: {}", "file", 7);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kIo);
    EXPECT_STREQ(e.what(), "file: cannot open: 7");
  }
  EXPECT_THROW(fail(ErrorKind::kIo, "x"), std::runtime_error);
}

struct CountsFormatting {
  static inline int formatted = 0;
};

}  // namespace
}  // namespace decant

template <>
struct fmt::formatter<decant::CountsFormatting> {
  constexpr auto parse(format_parse_context& context) { return context.begin(); }
  template <typename Context>
  auto format(const decant::CountsFormatting&, Context& context) const {
    ++decant::CountsFormatting::formatted;
    return context.out();
  }
};

namespace decant {
namespace {

TEST(Error, RequireFormatsOnlyWhatFails) {
  EXPECT_NO_THROW(require(true, "{}", CountsFormatting()));
  EXPECT_EQ(CountsFormatting::formatted, 0);
  try {
    require(false, "op: {}: expected {}, got {}", "q", Shape{2, 3}, CountsFormatting());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
    EXPECT_STREQ(e.what(), "op: q: expected [2, 3], got ");
  }
  EXPECT_EQ(CountsFormatting::formatted, 1);
}

}  // namespace
}  // namespace decant
