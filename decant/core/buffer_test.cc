#include "decant/core/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "decant/core/device.h"
#include "decant/core/error.h"

namespace decant {
namespace {

class BufferTest : public ::testing::Test {
 protected:
  // Bytes 0, 1, 2, ... so that a view's place shows in its content.
  Buffer counting(size_t bytes) const {
    std::vector<std::byte> values(bytes);
    for (size_t i = 0; i < bytes; ++i) values[i] = static_cast<std::byte>(i);
    return device_.upload<std::byte>(values, DType::kU8, {bytes});
  }
  template <typename Fn>
  static void rejected(const std::string& message, Fn&& fn) {
    try {
      fn();
      ADD_FAILURE() << "accepted; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kInvalidArgument);
      EXPECT_EQ(e.what(), message);
    }
  }
  Device device_ = Device::cpu({.threads = 1});
};

TEST(Shape, HoldsUpToFourExtents) {
  EXPECT_EQ(Shape().rank(), 0u);
  EXPECT_EQ(Shape().elements(), 1u);
  EXPECT_EQ(Shape().to_string(), "[]");
  const Shape shape{2, 3, 4, 5};
  EXPECT_EQ(shape.rank(), 4u);
  EXPECT_EQ(shape[0], 2u);
  EXPECT_EQ(shape[3], 5u);
  EXPECT_EQ(shape.elements(), 120u);
  EXPECT_EQ(shape.to_string(), "[2, 3, 4, 5]");
  EXPECT_EQ(fmt::format("{}", shape), "[2, 3, 4, 5]");
  EXPECT_EQ((Shape{7, 0}).elements(), 0u);
  EXPECT_THROW((Shape{1, 1, 1, 1, 1}), Error);
  EXPECT_NE((Shape{6}), (Shape{6, 1}));
  const uint64_t extents[] = {2, 3};
  EXPECT_EQ(Shape(std::span<const uint64_t>(extents)), (Shape{2, 3}));
}

TEST(Shape, CountingElementsCannotOverflow) {
  const uint64_t big = uint64_t{1} << 32;
  EXPECT_THROW((Shape{big, big}).elements(), Error);
  EXPECT_THROW((Shape{UINT64_MAX, 1, 2}).elements(), Error);
  EXPECT_EQ((Shape{UINT64_MAX, 1}).elements(), UINT64_MAX);
}

TEST_F(BufferTest, IsZeroedAndAlignedAtBirth) {
  for (const size_t bytes : {1, 3, 64, 4097, 1 << 20}) {
    const Buffer buffer = device_.buffer(DType::kU8, {bytes});
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.host()) % 64, 0u);
    const std::span<uint8_t> span = buffer.span<uint8_t>();
    ASSERT_EQ(span.size(), bytes);
    EXPECT_EQ(std::count(span.begin(), span.end(), 0), static_cast<std::ptrdiff_t>(bytes));
    std::fill(span.begin(), span.end(), uint8_t{0xFF});  // the next one may get this memory
  }
}

TEST_F(BufferTest, CopiesShareTheMemory) {
  const Buffer a = device_.buffer(DType::kF32, {4});
  Buffer b;
  b = a;
  a.span<float>()[2] = 7;
  EXPECT_EQ(b.span<float>()[2], 7);
}

TEST_F(BufferTest, SliceSpansOnlyItself) {
  const Buffer whole = counting(256);
  const Buffer slice = whole.slice(64, DType::kU8, {32});
  EXPECT_EQ(slice.byte_offset(), 64u);
  EXPECT_EQ(slice.byte_len(), 32u);
  EXPECT_EQ(slice.span<uint8_t>().size(), 32u);
  EXPECT_EQ(slice.span<uint8_t>().front(), 64);
  EXPECT_EQ(slice.span<uint8_t>().back(), 95);

  // A slice of the slice counts from the slice and ends within it, not within the storage.
  const Buffer nested = slice.slice(8, DType::kU32, {6});
  EXPECT_EQ(nested.byte_offset(), 72u);
  EXPECT_EQ(nested.span<uint32_t>().size(), 6u);
  EXPECT_EQ(nested.span<uint32_t>()[0], 0x4B4A4948u);
  EXPECT_EQ(nested.slice(4, {1}).dtype(), DType::kU32);
  rejected("Buffer::slice: u8 [33] at byte 0 needs 33 bytes, the view has 32",
           [&] { slice.slice(0, DType::kU8, {33}); });
  rejected("Buffer::slice: u32 [7] at byte 8 needs 28 bytes, the view has 32",
           [&] { slice.slice(8, DType::kU32, {7}); });
  EXPECT_NO_THROW(slice.slice(32, DType::kU8, {0}));
  EXPECT_THROW(slice.slice(33, DType::kU8, {0}), Error);

  // A read through the device sees the same bytes as the span.
  std::vector<std::byte> bytes(nested.byte_len());
  device_.read(nested, bytes);
  EXPECT_EQ(std::memcmp(bytes.data(), nested.host(), bytes.size()), 0);
}

TEST_F(BufferTest, OffsetsCannotOverflow) {
  const Buffer buffer = counting(64);
  for (const size_t offset : {SIZE_MAX, SIZE_MAX - 63, size_t{1} << 63})
    EXPECT_THROW(buffer.slice(offset, DType::kU8, {64}), Error) << offset;
  EXPECT_THROW(buffer.slice(1, DType::kU8, {UINT64_MAX}), Error);
  EXPECT_THROW(buffer.slice(0, DType::kF64, {uint64_t{1} << 61}), Error);  // 2^64 bytes: 0
  EXPECT_THROW(Buffer(buffer.storage(), SIZE_MAX, DType::kU8, {2}), Error);
  EXPECT_THROW(buffer.rows(1, UINT64_MAX), Error);
  EXPECT_THROW(buffer.rows(UINT64_MAX, 2), Error);
}

TEST_F(BufferTest, ElementsMustBeAligned) {
  const Buffer buffer = counting(512);
  rejected("Buffer: byte offset must be a multiple of 4 for f32, got 2",
           [&] { buffer.slice(2, DType::kF32, {1}); });
  EXPECT_NO_THROW(buffer.slice(2, DType::kF16, {1}));
  EXPECT_THROW(buffer.slice(1, DType::kF16, {1}), Error);
  EXPECT_THROW(buffer.slice(4, DType::kF64, {1}), Error);
  // Blocks need the alignment of their f16 scale only.
  EXPECT_NO_THROW(buffer.slice(2, DType::kQ8_0, {32}));
  EXPECT_THROW(buffer.slice(3, DType::kQ8_0, {32}), Error);
  // Through a slice, the offset in the storage counts.
  EXPECT_THROW(buffer.slice(1, DType::kU8, {9}).slice(4, DType::kF32, {1}), Error);
  EXPECT_NO_THROW(buffer.slice(1, DType::kU8, {9}).slice(3, DType::kF32, {1}));
}

TEST_F(BufferTest, WrappedMemoryIsSharedKeptReadOnlyAndAligned) {
  auto memory = std::make_shared<std::vector<float>>(9, 1.5f);
  const std::weak_ptr<void> alive = memory;
  const std::span<const std::byte> bytes = std::as_bytes(std::span(*memory));
  const float* data = memory->data();
  Buffer buffer = device_.wrap(bytes, DType::kF32, {9}, std::move(memory));
  EXPECT_EQ(buffer.span<const float>().data(), data);
  rejected("Buffer::span: the memory is read-only; ask for a span of const elements",
           [&] { buffer.span<float>(); });
  EXPECT_THROW(device_.write(buffer, std::vector<std::byte>(36)), Error);
  Buffer part = buffer.rows(3, 2);
  buffer = {};
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(part.span<const float>()[1], 1.5f);
  part = {};
  EXPECT_TRUE(alive.expired());

  alignas(8) static const std::byte raw[16]{};
  rejected("Buffer: memory of f32 must be aligned to 4 bytes", [&] {
    device_.wrap({raw + 2, 8}, DType::kF32, {2}, nullptr);
  });
  EXPECT_THROW(device_.wrap({raw, 8}, DType::kF32, {3}, nullptr), Error);
}

TEST_F(BufferTest, RowsOfEveryRank) {
  const Buffer one = counting(12);
  EXPECT_EQ(one.rows(3, 4).span<uint8_t>()[0], 3);
  EXPECT_EQ(one.rows(3, 4).shape(), (Shape{4}));
  const Buffer two = one.reshape({4, 3}).rows(1, 2);
  EXPECT_EQ(two.shape(), (Shape{2, 3}));
  EXPECT_EQ(two.span<uint8_t>()[0], 3);
  EXPECT_EQ(two.elements(), 6u);
  const Buffer three = counting(24).reshape({4, 3, 2}).rows(2, 1);
  EXPECT_EQ(three.shape(), (Shape{1, 3, 2}));
  EXPECT_EQ(three.byte_offset(), 12u);
  const Buffer four = counting(48).reshape({4, 3, 2, 2}).rows(3, 1);
  EXPECT_EQ(four.shape(), (Shape{1, 3, 2, 2}));
  EXPECT_EQ(four.span<uint8_t>()[0], 36);
  // Rows of rows count from the part.
  EXPECT_EQ(two.rows(1, 1).span<uint8_t>()[0], 6);
  rejected("Buffer::rows: 2 rows from row 1 on were asked for, the shape is [2, 3]",
           [&] { two.rows(1, 2); });
  EXPECT_EQ(two.rows(2, 0).byte_len(), 0u);
  EXPECT_EQ(device_.buffer(DType::kF32, {0, 5}).rows(0, 0).shape(), (Shape{0, 5}));
  EXPECT_THROW(Buffer().rows(0, 0), Error);
  EXPECT_THROW(one.reshape({12}).slice(0, {}).rows(0, 1), Error);  // a scalar has no rows
}

TEST_F(BufferTest, RowsAndReshapeKeepBlocksWhole) {
  const Buffer blocks = device_.buffer(DType::kQ8_0, {3, 64});
  EXPECT_EQ(blocks.byte_len(), 3u * 68);
  EXPECT_EQ(blocks.rows(1, 1).byte_offset(), 68u);
  EXPECT_EQ(blocks.rows(1, 2).byte_len(), 2u * 68);
  struct Block {
    uint8_t bytes[34];
  };
  EXPECT_EQ(blocks.rows(1, 1).span<Block>().size(), 2u);
  EXPECT_NO_THROW(blocks.reshape({6, 32}));
  rejected("Buffer: last extent of [12, 16] must be a multiple of q8_0's 32 elements", [&] {
    blocks.reshape({12, 16});
  });
  EXPECT_THROW(blocks.reshape({192}).rows(0, 1), Error);  // would cut a block
  rejected("Buffer::reshape: [7] has 7 elements, [3, 64] has 192", [&] { blocks.reshape({7}); });
  EXPECT_THROW(device_.buffer(DType::kQ4_K, {256, 3}), Error);  // whole blocks, but not in a row
  EXPECT_THROW(Buffer().reshape({}), Error);
}

TEST_F(BufferTest, SpanChecksTheElementsSize) {
  const Buffer buffer = device_.buffer(DType::kF32, {4});
  EXPECT_EQ(buffer.span<uint32_t>().size(), 4u);
  rejected("Buffer::span: elements of f32 have 4 bytes, the span's type has 2",
           [&] { buffer.span<uint16_t>(); });
  EXPECT_THROW(Buffer().span<float>(), Error);
}

TEST_F(BufferTest, OverlapMeansACommonByte) {
  const Buffer a = counting(64), b = counting(64);
  const auto part = [&](size_t offset, size_t bytes) { return a.slice(offset, {bytes}); };
  EXPECT_TRUE(part(0, 10).overlaps(part(9, 1)));
  EXPECT_TRUE(part(9, 1).overlaps(part(0, 10)));
  EXPECT_FALSE(part(0, 10).overlaps(part(10, 10)));
  EXPECT_FALSE(part(10, 10).overlaps(part(0, 10)));
  EXPECT_TRUE(part(0, 64).overlaps(part(20, 4)));
  EXPECT_FALSE(part(0, 64).overlaps(part(20, 0)));  // nothing is in common with nothing
  EXPECT_FALSE(part(20, 0).overlaps(part(20, 0)));
  EXPECT_FALSE(a.overlaps(b));
  EXPECT_FALSE(a.overlaps(Buffer()));
  EXPECT_FALSE(Buffer().overlaps(Buffer()));
  // Whatever way a view was made.
  EXPECT_TRUE(a.reshape({8, 8}).rows(3, 1).overlaps(a.slice(24, DType::kF32, {1})));
  EXPECT_FALSE(a.reshape({8, 8}).rows(3, 1).overlaps(a.slice(32, DType::kF32, {1})));
}

TEST_F(BufferTest, TransfersMustFitExactly) {
  const Buffer buffer = device_.buffer(DType::kU8, {8}),
               elsewhere = Device::cpu().buffer(DType::kU8, {8});
  std::vector<std::byte> seven(7), eight(8);
  EXPECT_THROW(device_.write(buffer, seven), Error);
  EXPECT_THROW(device_.read(buffer, seven), Error);
  EXPECT_THROW(device_.write(elsewhere, eight), Error);
  EXPECT_THROW(device_.read(elsewhere, eight), Error);
  EXPECT_THROW(device_.write(Buffer(), {}), Error);
  EXPECT_NO_THROW(device_.write(buffer.slice(8, {0}), {}));
}

TEST_F(BufferTest, ImpossibleAllocationsAreErrors) {
  for (const uint64_t bytes : {uint64_t{1} << 50, uint64_t{1} << 63, UINT64_MAX - 63, UINT64_MAX}) {
    try {
      device_.buffer(DType::kU8, {bytes});
      ADD_FAILURE() << bytes;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kAllocationFailed);
      EXPECT_NE(std::string(e.what()).find(std::to_string(bytes)), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace decant
