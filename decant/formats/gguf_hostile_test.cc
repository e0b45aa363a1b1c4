// Files that are broken, by accident or on purpose. Each must end in an Error of kind GgufParse
// that names the file, the place and what was expected.
#include <gtest/gtest.h>

#include "decant/core/error.h"
#include "decant/formats/gguf.h"
#include "testing/gguf_builder.h"

namespace decant {
namespace {

using testing::append;
using testing::GgufBuilder;
using testing::sample_gguf;

void rejects(const std::vector<std::byte>& bytes, const std::string& message) {
  SCOPED_TRACE(message);
  try {
    GgufFile::parse(bytes, nullptr, "bad.gguf");
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kGgufParse);
    const std::string what = e.what();
    EXPECT_TRUE(what.starts_with("bad.gguf: ")) << what;
    EXPECT_NE(what.find(message), std::string::npos) << what;
  }
}
void rejects(const GgufBuilder& builder, const std::string& message) {
  rejects(builder.build(), message);
}

std::vector<std::byte> raw(std::initializer_list<uint64_t> numbers) {
  std::vector<std::byte> bytes;
  for (const uint64_t n : numbers) append(bytes, n);
  return bytes;
}
// Payload of an array that claims `count` elements of type number `type`.
std::vector<std::byte> array_head(uint32_t type, uint64_t count) {
  std::vector<std::byte> bytes;
  append(bytes, type);
  append(bytes, count);
  return bytes;
}

constexpr uint32_t kStringType = 8, kArrayType = 9, kBoolType = 7;
constexpr uint64_t kHuge[] = {uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 61,
                              uint64_t{1} << 63, UINT64_MAX};

TEST(GgufHostile, EveryPrefixOfAFile) {
  const std::vector<std::byte> whole = sample_gguf().build();
  ASSERT_NO_THROW(GgufFile::parse(whole, nullptr, "whole"));
  for (size_t length = 0; length < whole.size(); ++length) {
    // A copy of exactly this size, so that the sanitizers see a byte read beyond it.
    const std::vector<std::byte> prefix(whole.begin(),
                                        whole.begin() + static_cast<std::ptrdiff_t>(length));
    try {
      GgufFile::parse(prefix, nullptr, "bad.gguf");
      FAIL() << "accepted " << length << " of " << whole.size() << " bytes";
    } catch (const Error& e) {
      ASSERT_EQ(e.kind(), ErrorKind::kGgufParse) << length;
      ASSERT_TRUE(std::string_view(e.what()).starts_with("bad.gguf: byte ")) << e.what();
    }
  }
}

// Flips every bit of the header, metadata and tensor infos. Many results are valid files; what must
// not happen is a crash, and whatever is accepted must hold its promises.
TEST(GgufHostile, EveryFlippedBit) {
  std::vector<std::byte> bytes = sample_gguf().build();
  const size_t checked = GgufFile::parse(bytes, nullptr, "whole").tensors()[0].offset;
  size_t accepted = 0, rejected = 0;
  for (size_t i = 0; i < checked; ++i)
    for (unsigned bit = 0; bit < 8; ++bit) {
      const std::byte old = bytes[i];
      bytes[i] ^= std::byte{1} << bit;
      try {
        const GgufFile file = GgufFile::parse(bytes, nullptr, "bad.gguf");
        ++accepted;
        for (const GgufTensor& tensor : file.tensors()) {
          ASSERT_EQ(tensor.offset % file.alignment(), 0u);
          ASSERT_LE(tensor.offset, bytes.size());
          ASSERT_LE(tensor.bytes.size(), bytes.size() - tensor.offset);
          if (tensor.dtype) {
            ASSERT_EQ(tensor.bytes.size(), bytes_of(*tensor.dtype, tensor.shape.elements()));
          }
        }
      } catch (const Error& e) {
        ASSERT_EQ(e.kind(), ErrorKind::kGgufParse) << e.what();
        ++rejected;
      }
      bytes[i] = old;
    }
  EXPECT_GT(accepted, 0u);
  EXPECT_GT(rejected, accepted / 4);
}

TEST(GgufHostile, Header) {
  rejects(std::vector<std::byte>{}, "byte 0: header: magic: expected 'GGUF', got an empty file");
  GgufBuilder b;
  b.magic = "GGML";
  rejects(b, "byte 0: header: magic: expected 'GGUF', got 'GGML'");
  b.magic = "FUGG";
  rejects(b, "expected 'GGUF', got 'FUGG'");
  b.magic = std::string("\0\x1b[2", 4);
  rejects(b, "got '\\x00\\x1b[2'");  // a message cannot drive the terminal
  b.magic = "GGUF";
  for (const uint32_t version : {0u, 1u, 4u, 0xFFFFFFFFu}) {
    b.version = version;
    rejects(b, fmt::format("byte 4: header: version: expected 2 or 3, got {}", version));
  }
  b.version = 0x03000000;
  rejects(b, "(a big-endian file? those are not supported)");
}

TEST(GgufHostile, CountsThatTheFileCannotHold) {
  for (const uint64_t count : kHuge) {
    GgufBuilder b = sample_gguf();
    b.metadata_count = count;
    rejects(b, "byte 16: header: metadata count: expected at most the ");
    b = sample_gguf();
    b.tensor_count = count;
    rejects(b, "byte 8: header: tensor count: expected at most the ");
    for (uint32_t type = 0; type < kNumGgufTypes; ++type) {
      if (type == kArrayType) continue;
      rejects(GgufBuilder().add_raw("k", kArrayType, array_head(type, count)),
              "metadata 0 'k': array length: expected at most the 0 that fit in the file");
    }
    rejects(GgufBuilder().add_raw("k", kStringType, raw({count})),
            fmt::format("metadata 0 'k': string: expected {} bytes, got 0 before the end", count));
    std::vector<std::byte> strings = array_head(kStringType, 1);
    append(strings, count);
    rejects(GgufBuilder().add_raw("k", kArrayType, strings), "string of an array: expected ");
  }
  // One more than is there.
  GgufBuilder b = sample_gguf();
  b.tensor_count = 19;
  rejects(b, "tensor 18");
  b = GgufBuilder().add("k", true);
  b.metadata_count = 2;
  rejects(b, "metadata count: expected at most the 1 that fit in the file, got 2");
}

TEST(GgufHostile, Keys) {
  rejects(GgufBuilder().add("a", 1u).add("b", 2u).add("a", 3u),
          "metadata 2 'a': key: expected each once, got it a second time after number 0");
  rejects(GgufBuilder().add("", 1u), "metadata 0: key: expected 1 to 65535 bytes, got 0");
  rejects(GgufBuilder().add(std::string(65536, 'k'), 1u), "key: expected 1 to 65535 bytes");
  EXPECT_NO_THROW(
      GgufFile::parse(GgufBuilder().add(std::string(65535, 'k'), 1u).build(), nullptr, "long"));
  // A hostile key is shown escaped and cut.
  rejects(GgufBuilder().add("\x1b[31m" + std::string(200, 'k'), 1u).add_raw("x", 99, {}),
          "metadata 1 'x': value type: expected 0 to 12, got 99");
  const std::string hostile = "\x1b[31m" + std::string(200, 'k');
  rejects(GgufBuilder().add_raw(hostile, 99, {}),
          "'\\x1b[31m" + std::string(95, 'k') + "... 205 bytes in all'");
}

TEST(GgufHostile, Values) {
  for (const uint32_t type : {13u, 99u, 0xFFFFFFFFu}) {
    rejects(GgufBuilder().add_raw("k", type, raw({0, 0})),
            fmt::format("value type: expected 0 to 12, got {}", type));
    rejects(GgufBuilder().add_raw("k", kArrayType, array_head(type, 0)),
            fmt::format("value type: expected 0 to 12, got {}", type));
  }
  rejects(GgufBuilder().add_raw("k", kArrayType, array_head(kArrayType, 0)),
          "array: expected elements that are no arrays, got a nested array");
  std::vector<std::byte> nested;
  for (int depth = 0; depth < 1000; ++depth) {
    const std::vector<std::byte> head = array_head(kArrayType, 1);
    nested.insert(nested.end(), head.begin(), head.end());
  }
  rejects(GgufBuilder().add_raw("k", kArrayType, nested), "got a nested array");
  for (const unsigned value : {2u, 0x80u, 0xFFu}) {
    const std::vector<std::byte> one = {static_cast<std::byte>(value)};
    // 24 bytes of header, 8 + 1 of key, 4 of type.
    rejects(GgufBuilder().add_raw("k", kBoolType, one),
            fmt::format("byte 37: metadata 0 'k': bool: expected 0 or 1, got {}", value));
    std::vector<std::byte> two = array_head(kBoolType, 2);
    two.push_back(std::byte{1});
    two.push_back(static_cast<std::byte>(value));
    rejects(GgufBuilder().add_raw("k", kArrayType, two),
            fmt::format("bool: expected 0 or 1, got {}", value));
  }
}

TEST(GgufHostile, Alignment) {
  for (const uint32_t alignment : {0u, 1u, 4u, 12u, 33u, 48u, 0xFFFFFFFFu})
    rejects(GgufBuilder().add("general.alignment", alignment),
            fmt::format("metadata 0 'general.alignment': expected a power of two from 8 on, got {}",
                        alignment));
  rejects(GgufBuilder().add("general.alignment", "32"),
          "metadata 'general.alignment': expected u32, got string");
  rejects(GgufBuilder().add("general.alignment", int64_t{-32}),
          "metadata 'general.alignment': expected a value that fits u32, got i64 -32");
  // Legal, but the file ends long before the data could start.
  rejects(
      GgufBuilder().add("general.alignment", 1u << 31).add_random_tensor("t", DType::kI8, {8}, 1),
      "padding before the tensors: expected ");
}

std::vector<std::byte> zeros(size_t n) { return std::vector<std::byte>(n); }

TEST(GgufHostile, TensorShapes) {
  const auto tensor = [](const std::vector<uint64_t>& dims, uint32_t type = 0) {
    return GgufBuilder().add_tensor("t", type, dims, zeros(4096));
  };
  rejects(tensor({}), "tensor 0 't': number of dimensions: expected 1 to 4, got 0");
  rejects(tensor({1, 1, 1, 1, 1}), "number of dimensions: expected 1 to 4, got 5");
  rejects(tensor({0}), "dimension 0: expected at least 1, got 0");
  rejects(tensor({4, 0, 4}), "dimension 1: expected at least 1, got 0");
  rejects(tensor({UINT64_MAX, 2}), "dimensions: expected a product below 2^64");
  rejects(tensor({1u << 16, 1u << 16, 1u << 16, 1u << 16}), "expected a product below 2^64");
  rejects(tensor({uint64_t{1} << 62}), "size: expected at most the file's ");  // * 4 wraps to 0
  rejects(tensor({UINT64_MAX}, 24), "size: expected at most the file's ");
  rejects(tensor({uint64_t{1} << 63, 1}, 24), "size: expected at most the file's ");
  rejects(tensor({2, 48}, 2), "row length: expected a multiple of Q4_0's 32 elements, got 48");
  // As many elements as whole blocks, but not in each row.
  rejects(tensor({256, 3}, 12), "row length: expected a multiple of Q4_K's 256 elements, got 3");
  rejects(tensor({2, 100}, 17), "row length: expected a multiple of IQ2_XS's 256 elements");
  std::vector<std::byte> bytes = tensor({1}).build();
  // Number of dimensions: after 24 bytes of header and 8 + 1 of name.
  for (size_t i = 33; i < 37; ++i) bytes[i] = std::byte{0xFF};
  rejects(bytes, "byte 33: tensor 0 't': number of dimensions: expected 1 to 4, got 4294967295");
}

TEST(GgufHostile, TensorNames) {
  rejects(GgufBuilder()
              .add_tensor("a", 0, {1}, zeros(4))
              .add_tensor("b", 0, {1}, zeros(4))
              .add_tensor("b", 0, {1}, zeros(4)),
          "tensor 2 'b': name: expected each once, got it a second time after number 1");
  rejects(GgufBuilder().add_tensor("", 0, {1}, zeros(4)), "name: expected 1 to 65535 bytes, got 0");
}

TEST(GgufHostile, TensorPlaces) {
  const auto two = [](uint64_t offset, uint32_t second_type = 0) {
    return GgufBuilder()
        .add_tensor("a", 0, {16}, zeros(64))
        .add_tensor("b", second_type, {16}, zeros(64), offset);
  };
  EXPECT_NO_THROW(GgufFile::parse(two(64).build(), nullptr, "fine"));
  rejects(two(65), "tensor 1 'b': offset: expected a multiple of the alignment 32, got 65");
  rejects(two(UINT64_MAX), "offset: expected a multiple of the alignment 32");
  rejects(two(96), "tensor 1 'b': data: expected 64 bytes at offset 96 from here, got 128");
  rejects(two(128), "data: expected 64 bytes at offset 128 from here, got 128");
  for (const uint64_t offset : {uint64_t{1} << 40, uint64_t{1} << 63, UINT64_MAX - 31})
    rejects(two(offset), "data: expected 64 bytes at offset ");
  rejects(two(0), "tensor 1 'b': data: expected a place of its own, got an overlap with 'a'");
  rejects(two(32), "got an overlap with 'a'");
  // A type of unknown size covers at least its first byte.
  rejects(two(32, 4711), "got an overlap with 'a'");
  rejects(two(128, 4711), "data: expected 1 bytes at offset 128 from here, got 128");
  // A gap is allowed, and so is any order.
  EXPECT_NO_THROW(GgufFile::parse(GgufBuilder()
                                      .add_tensor("a", 0, {8}, zeros(32), 96)
                                      .add_tensor("b", 0, {8}, zeros(96), 0)
                                      .build(),
                                  nullptr, "fine"));
}

// What a mapped file can do after it was parsed: change under the reader.
TEST(GgufHostile, StringsThatChangeAfterParsing) {
  std::vector<std::byte> bytes =
      GgufBuilder().add_array<std::string_view>("k", {"one", "two"}).build();
  const GgufFile file = GgufFile::parse(bytes, nullptr, "changing.gguf");
  const auto strings = file.get<GgufArray<std::string_view>>("k");
  // 24 bytes of header, 8 + 1 of key, 4 of type, 4 + 8 of the array's type and count.
  for (size_t i = 49; i < 57; ++i) bytes[i] = std::byte{0xFF};
  EXPECT_THROW(
      {
        for (const std::string_view s : strings) EXPECT_LE(s.size(), 3u);
      },
      Error);
}

}  // namespace
}  // namespace decant
