#include "decant/formats/gguf_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "decant/core/error.h"
#include "decant/formats/gguf.h"

namespace decant {
namespace {

using ::testing::ElementsAre;

// Writes `bytes` bytes of one value.
auto filled(size_t bytes, char value) {
  return [bytes, value](std::ostream& to) { to << std::string(bytes, value); };
}

TEST(GgufWriter, ReadsBackWhatWasWritten) {
  GgufWriter writer;
  writer.add("a.string", "text").add("a.u32", uint32_t{7}).add("a.f32", 1.5f).add("a.bool", true);
  writer.add_array<std::string_view>("a.strings", {"x", "", "yz"});
  writer.add_array<int32_t>("a.i32", {-1, 2});
  writer.add_tensor("first", DType::kF32, {2, 3}, filled(24, 1));
  writer.add_tensor("second", DType::kQ4_0, {1, 32}, filled(18, 2));
  writer.add_tensor("third", DType::kF16, {5}, filled(10, 3));
  std::ostringstream stream;
  writer.write(stream);

  const std::string bytes = stream.str();
  const GgufFile file =
      GgufFile::parse(std::as_bytes(std::span(bytes.data(), bytes.size())), nullptr, "made");
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.get<std::string>("a.string"), "text");
  EXPECT_EQ(file.get<uint32_t>("a.u32"), 7u);
  EXPECT_EQ(file.get<float>("a.f32"), 1.5f);
  EXPECT_TRUE(file.get<bool>("a.bool"));
  const auto strings = file.get<GgufArray<std::string_view>>("a.strings");
  EXPECT_THAT(std::vector<std::string_view>(strings.begin(), strings.end()),
              ElementsAre("x", "", "yz"));
  const auto numbers = file.get<GgufArray<int32_t>>("a.i32");
  EXPECT_THAT(std::vector<int32_t>(numbers.begin(), numbers.end()), ElementsAre(-1, 2));
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensor("first").shape, Shape({2, 3}));
  EXPECT_EQ(file.tensor("second").dtype, DType::kQ4_0);
  char value = 1;
  for (const char* name : {"first", "second", "third"}) {
    const GgufTensor& tensor = file.tensor(name);
    EXPECT_EQ(tensor.offset % 32, 0u);
    EXPECT_THAT(tensor.bytes, ::testing::Each(static_cast<std::byte>(value))) << name;
    ++value;
  }
}

TEST(GgufWriter, DataOfAnotherSizeIsRefused) {
  for (const size_t bytes : {0, 23, 25}) {
    GgufWriter writer;
    writer.add_tensor("t", DType::kF32, {6}, filled(bytes, 1));
    std::ostringstream stream;
    try {
      writer.write(stream);
      ADD_FAILURE() << bytes << " bytes were accepted";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(std::string(e.what()),
                fmt::format("gguf: tensor 't': expected 24 bytes of data, got {}", bytes));
    }
  }
}

TEST(GgufWriter, AFailedStreamIsAnError) {
  GgufWriter writer;
  writer.add("a.u32", uint32_t{7});
  std::ostringstream stream;
  stream.setstate(std::ios::badbit);
  EXPECT_THROW(writer.write(stream), Error);
}

}  // namespace
}  // namespace decant
