#include "decant/core/buffer_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "decant/core/encoder.h"
#include "decant/core/error.h"

namespace decant {
namespace {

class BufferPoolTest : public ::testing::Test {
 protected:
  Device device_ = Device::cpu({.threads = 1});
  BufferPool pool_{device_};
};

TEST_F(BufferPoolTest, ReusesWhatNobodyHolds) {
  Buffer a = pool_.acquire(DType::kF32, {100});
  const Storage* first = a.storage().get();
  EXPECT_EQ(pool_.held_bytes(), 512u);
  const Buffer b = pool_.acquire(DType::kF32, {100});
  EXPECT_NE(b.storage().get(), first);
  EXPECT_EQ(pool_.held_bytes(), 1024u);
  a = {};
  const Buffer c = pool_.acquire(DType::kU8, {300});  // another size of the same power of two
  EXPECT_EQ(c.storage().get(), first);
  EXPECT_EQ(c.byte_len(), 300u);
  EXPECT_EQ(c.shape(), (Shape{300}));
  EXPECT_EQ(pool_.held_bytes(), 1024u);
}

TEST_F(BufferPoolTest, ASliceIsAHolder) {
  Buffer a = pool_.acquire(DType::kU8, {1000});
  Buffer part = a.slice(10, {1});
  const Storage* first = a.storage().get();
  a = {};
  EXPECT_NE(pool_.acquire(DType::kU8, {1000}).storage().get(), first);
  part = {};
  EXPECT_EQ(pool_.acquire(DType::kU8, {1000}).storage().get(), first);
}

TEST_F(BufferPoolTest, ZeroesWhatItReuses) {
  for (const size_t bytes : {size_t{1}, size_t{256}, size_t{4095}, size_t{4097}, size_t{70000}}) {
    for (int round = 0; round < 3; ++round) {
      const Buffer buffer = pool_.acquire(DType::kU8, {bytes});
      const std::span<uint8_t> span = buffer.span<uint8_t>();
      EXPECT_TRUE(std::all_of(span.begin(), span.end(), [](uint8_t b) { return b == 0; })) << bytes;
      // To the end of what the next, larger buffer may get.
      const Buffer all(buffer.storage(), 0, DType::kU8, {buffer.storage()->bytes()});
      std::ranges::fill(all.span<uint8_t>(), uint8_t{0xFF});
    }
    const Buffer larger = pool_.acquire(DType::kU8, {std::max<size_t>(bytes, 200)});
    EXPECT_EQ(std::ranges::count(larger.span<uint8_t>(), 0),
              static_cast<std::ptrdiff_t>(larger.byte_len()));
  }
}

TEST_F(BufferPoolTest, TakesTheUsageOfTheNewBuffer) {
  EXPECT_EQ(pool_.acquire(DType::kU8, {8}, Usage::kScratch).storage()->usage, Usage::kScratch);
  EXPECT_EQ(pool_.acquire(DType::kU8, {8}).storage()->usage, Usage::kNormal);
  EXPECT_EQ(pool_.held_bytes(), 256u);
}

TEST_F(BufferPoolTest, AnEncoderHoldsWhatItRecorded) {
  KernelDef nothing{.name = "nothing", .cpu = [](const CpuGroup&) {}};
  CommandEncoder encoder(device_);
  const Storage* first = nullptr;
  {
    const Buffer buffer = pool_.acquire(DType::kU8, {64});
    first = buffer.storage().get();
    encoder.dispatch(&nothing, {writes(buffer)}, {});
  }
  EXPECT_NE(pool_.acquire(DType::kU8, {64}).storage().get(), first);
  encoder.commit();
  EXPECT_NE(pool_.acquire(DType::kU8, {64}).storage().get(), first);
  encoder.wait();
  EXPECT_EQ(pool_.acquire(DType::kU8, {64}).storage().get(), first);
}

TEST_F(BufferPoolTest, TrimFreesOnlyWhatIsFree) {
  const Buffer kept = pool_.acquire(DType::kU8, {4096});
  std::weak_ptr<Storage> freed = pool_.acquire(DType::kU8, {8192}).storage();
  EXPECT_FALSE(freed.expired());
  pool_.trim();
  EXPECT_TRUE(freed.expired());
  EXPECT_EQ(pool_.held_bytes(), 4096u);
}

TEST_F(BufferPoolTest, BuffersOutliveThePool) {
  Buffer buffer;
  {
    BufferPool pool(device_);
    buffer = pool.acquire(DType::kF32, {8});
  }
  buffer.span<float>()[7] = 1;
  EXPECT_EQ(buffer.span<float>()[7], 1);
}

TEST_F(BufferPoolTest, ImpossibleSizesAreErrors) {
  EXPECT_THROW(pool_.acquire(DType::kU8, {UINT64_MAX}), Error);
  EXPECT_THROW(pool_.acquire(DType::kU8, {uint64_t{1} << 62}), Error);
  EXPECT_EQ(pool_.held_bytes(), 0u);
  EXPECT_EQ(pool_.acquire(DType::kU8, {0}).byte_len(), 0u);
}

// Each thread fills what it got with its own mark and looks whether it stays: a buffer given to two
// threads would show it, and one that was not zeroed too.
TEST_F(BufferPoolTest, FromManyThreads) {
  constexpr int kThreads = 4, kRounds = 300;
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      const auto mark = static_cast<uint8_t>(t + 1);
      for (int round = 0; round < kRounds; ++round) {
        const Buffer a = pool_.acquire(DType::kU8, {200});
        const Buffer b = pool_.acquire(DType::kU8, {static_cast<uint64_t>(300 + round % 3)});
        for (const Buffer* buffer : {&a, &b}) {
          const std::span<uint8_t> span = buffer->span<uint8_t>();
          wrong += std::ranges::count(span, 0) != static_cast<std::ptrdiff_t>(span.size());
          std::ranges::fill(span, mark);
        }
        std::this_thread::yield();
        for (const Buffer* buffer : {&a, &b}) {
          const std::span<uint8_t> span = buffer->span<uint8_t>();
          wrong += std::ranges::count(span, mark) != static_cast<std::ptrdiff_t>(span.size());
        }
        if (round % 50 == 0) pool_.trim();
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(pool_.held_bytes(), kThreads * (256u + 512u));
}

}  // namespace
}  // namespace decant
