#include "decant/cpu/cpu_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>

#include "decant/core/encoder.h"
#include "decant/core/error.h"

namespace decant {
namespace {

// Adds one to the element of its group; args: u32 counters.
void count_group(const CpuGroup& g) {
  const uint64_t index = (uint64_t{g.group.z} * g.grid.y + g.group.y) * g.grid.x + g.group.x;
  std::atomic_ref<uint32_t>(g.arg<uint32_t>(0)[index]).fetch_add(1);
}
const KernelDef kCount{.name = "count", .cpu = &count_group};

// args: u32 value as Bytes, u32 out.
void store_value(const CpuGroup& g) { g.arg<uint32_t>(1)[g.group.x] = g.params<uint32_t>(); }
const KernelDef kStore{.name = "store", .cpu = &store_value};

TEST(CpuDevice, SaysWhatItIs) {
  const Device device = Device::cpu({.threads = 3});
  EXPECT_EQ(device.info().backend, BackendKind::kCpu);
  EXPECT_EQ(to_string(device.info().backend), "cpu");
  EXPECT_FALSE(device.name().empty());
  EXPECT_EQ(device.info().capability, cpu::simd_target_name());
  EXPECT_GT(device.info().memory_bytes, uint64_t{1} << 20);
  EXPECT_EQ(device.info().compute_units, 3u);
}

TEST(CpuDevice, ThreadCountIsSettable) {
  EXPECT_EQ(Device::cpu().info().compute_units, cpu::physical_cores());
  EXPECT_GE(cpu::physical_cores(), 1u);
  for (const uint32_t threads : {1u, 2u, 5u})
    EXPECT_EQ(Device::cpu({.threads = threads}).info().compute_units, threads);
  EXPECT_THROW(Device::cpu({.threads = 4097}), Error);
  EXPECT_THROW(Device::cpu({.threads = UINT32_MAX}), Error);
}

TEST(CpuDevice, UsesItsThreadsAndNoMore) {
  static std::mutex mutex;
  static std::set<std::thread::id> seen;
  const KernelDef who{.name = "who", .cpu = [](const CpuGroup&) {
                        {
                          const std::lock_guard lock(mutex);
                          seen.insert(std::this_thread::get_id());
                        }
                        std::this_thread::sleep_for(std::chrono::microseconds(200));
                      }};
  for (const uint32_t threads : {1u, 3u}) {
    seen.clear();
    const Device device = Device::cpu({.threads = threads});
    CommandEncoder encoder(device);
    encoder.dispatch(&who, {}, {.grid = {300}});
    encoder.commit_and_wait();
    EXPECT_LE(seen.size(), threads);
    EXPECT_TRUE(threads == 1 || seen.size() > 1) << "the work was not shared";
    EXPECT_TRUE(seen.contains(std::this_thread::get_id())) << "the caller takes part";
  }
}

TEST(CpuDevice, EveryGroupRunsExactlyOnce) {
  for (const uint32_t threads : {1u, 2u, 4u}) {
    const Device device = Device::cpu({.threads = threads});
    for (const Dim3 grid : {Dim3{1}, Dim3{1000}, Dim3{1, 37}, Dim3{1, 1, 5}, Dim3{7, 5, 3}}) {
      SCOPED_TRACE(fmt::format("{} threads, {}x{}x{}", threads, grid.x, grid.y, grid.z));
      const Buffer counts = device.buffer(DType::kU32, {grid.count() + 1});
      CommandEncoder encoder(device);
      encoder.dispatch(&kCount, {reads_writes(counts)}, {.grid = grid});
      encoder.commit_and_wait();
      for (size_t i = 0; i < grid.count(); ++i) ASSERT_EQ(counts.span<uint32_t>()[i], 1u) << i;
      EXPECT_EQ(counts.span<uint32_t>().back(), 0u);
    }
  }
}

// Without a barrier between them, dispatches of all sizes are one parallel region.
TEST(CpuDevice, IndependentDispatchesShareARegion) {
  const Device device = Device::cpu({.threads = 2});
  CommandEncoder encoder(device);
  std::vector<Buffer> all;
  const uint32_t sizes[] = {1, 100, 1, 1, 17, 64, 2, 1};
  for (int repeat = 0; repeat < 3; ++repeat) {
    for (const uint32_t n : sizes) {
      all.push_back(device.buffer(DType::kU32, {n}));
      encoder.dispatch(&kCount, {reads_writes(all.back())}, {.grid = {n}});
    }
    encoder.memory_barrier();
  }
  EXPECT_EQ(encoder.commands().barriers(), 2u);
  encoder.commit_and_wait();
  for (const Buffer& counts : all)
    for (const uint32_t n : counts.span<uint32_t>()) EXPECT_EQ(n, 1u);
}

TEST(CpuDevice, ABarrierOrdersWhatDependsOnEachOther) {
  const KernelDef shift{.name = "shift", .cpu = [](const CpuGroup& g) {
                          const uint32_t n = g.grid.x;
                          g.arg<uint32_t>(1)[g.group.x] =
                              g.arg<uint32_t>(0)[(g.group.x + 1) % n] + 1;
                        }};
  constexpr uint32_t kN = 64, kSteps = 40;
  const Device device = Device::cpu({.threads = 4});
  const Buffer a = device.buffer(DType::kU32, {kN}), b = device.buffer(DType::kU32, {kN});
  CommandEncoder encoder(device);
  for (uint32_t step = 0; step < kSteps; ++step)
    encoder.dispatch(&shift, {reads(step % 2 ? b : a), writes(step % 2 ? a : b)}, {.grid = {kN}});
  EXPECT_EQ(encoder.commands().barriers(), kSteps - 1);
  encoder.commit_and_wait();
  for (const uint32_t value : a.span<uint32_t>()) EXPECT_EQ(value, kSteps);
}

TEST(CpuDevice, BytesArriveAlignedAndKept) {
  struct Params {
    alignas(16) uint32_t value;
  };
  const KernelDef store{.name = "store_params", .cpu = [](const CpuGroup& g) {
                          const bool aligned =
                              reinterpret_cast<uintptr_t>(g.args[0].data) % 16 == 0;
                          *g.arg<uint32_t>(1) = aligned ? g.params<Params>().value : 0;
                        }};
  const Device device = Device::cpu({.threads = 2});
  const Buffer out = device.buffer(DType::kU32, {50});
  CommandEncoder encoder(device);
  for (uint32_t i = 0; i < 50; ++i) {
    Params params{i + 1};
    encoder.dispatch(&store, {bytes(params), writes(out.rows(i, 1))}, {});
    params.value = 999;  // the encoder has its own copy
  }
  encoder.commit_and_wait();
  for (uint32_t i = 0; i < 50; ++i) EXPECT_EQ(out.span<uint32_t>()[i], i + 1);
}

TEST(CpuDevice, ArgumentsAreTheSlicesBytes) {
  const KernelDef check{.name = "check", .cpu = [](const CpuGroup& g) {
                          if (g.args[0].bytes != 12 || g.arg<uint32_t>(0)[0] != 5)
                            throw std::runtime_error("wrong slice");
                        }};
  const Device device = Device::cpu({.threads = 1});
  const uint32_t values[] = {1, 2, 3, 4, 5, 6, 7, 8};
  const Buffer buffer = device.upload<uint32_t>(values, DType::kU32, {8});
  CommandEncoder encoder(device);
  encoder.dispatch(&check, {reads(buffer.rows(2, 6).rows(2, 3))}, {});
  EXPECT_NO_THROW(encoder.commit_and_wait());
}

TEST(CpuDevice, SharedMemoryIsAlignedAndOfTheGroupsOwn) {
  // Fills its scratch, lets others run, and looks whether it is still its own.
  const KernelDef fill{.name = "fill", .cpu = [](const CpuGroup& g) {
                         const auto bytes = g.params<uint32_t>();
                         if (reinterpret_cast<uintptr_t>(g.shared) % 64 != 0)
                           throw std::runtime_error("not aligned");
                         const auto mark = static_cast<std::byte>(g.group.x);
                         std::fill_n(g.shared, bytes, mark);
                         std::this_thread::yield();
                         if (std::count(g.shared, g.shared + bytes, mark) != bytes)
                           throw std::runtime_error("not its own");
                       }};
  const KernelDef none{.name = "none", .cpu = [](const CpuGroup& g) {
                         if (g.shared) throw std::runtime_error("expected none");
                       }};
  const Device device = Device::cpu({.threads = 4});
  CommandEncoder encoder(device);
  for (const uint32_t shared : {1u, 63u, 65u, 100'000u, 64u})
    encoder.dispatch(&fill, {bytes(shared)}, {.grid = {100}, .shared_bytes = shared});
  encoder.dispatch(&none, {}, {.grid = {8}});
  EXPECT_NO_THROW(encoder.commit_and_wait());
}

// Every group counts in its scratch how many the thread has run of this dispatch, and how many
// times that is told to start anew.
void count_kept(const CpuGroup& group) {
  auto& count = *reinterpret_cast<uint32_t*>(group.shared);
  if (!group.shared_kept) count = 0;
  group.arg<uint32_t>(0)[group.group.x] = ++count;
}
const KernelDef kCountKept{.name = "count_kept", .cpu = &count_kept};

TEST(CpuDevice, SharedIsKeptBetweenGroupsOfOneDispatch) {
  const Device device = Device::cpu({.threads = 1});
  const Buffer a = device.buffer(DType::kU32, {5}), b = device.buffer(DType::kU32, {3});
  CommandEncoder encoder(device);
  const auto dispatch = [&](const Buffer& out) {
    encoder.dispatch(&kCountKept, {writes(out)},
                     {.grid = {static_cast<uint32_t>(out.elements())}, .shared_bytes = 64});
  };
  for (int run = 0; run < 2; ++run) {
    dispatch(a);
    dispatch(b);  // in the same parallel region, but another dispatch
    encoder.commit_and_wait();
    for (uint32_t i = 0; i < 5; ++i) EXPECT_EQ(a.span<uint32_t>()[i], i + 1);
    for (uint32_t i = 0; i < 3; ++i) EXPECT_EQ(b.span<uint32_t>()[i], i + 1);
  }
}

class CpuFailure : public ::testing::Test {
 protected:
  static void expect_failed(CommandEncoder& encoder, const std::string& message) {
    try {
      encoder.wait();
      ADD_FAILURE() << "no failure; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kCommandFailed);
      EXPECT_EQ(e.what(), message);
    }
  }
  const KernelDef throws_{.name = "throws", .cpu = [](const CpuGroup& g) {
                            if (g.group.x % 3 == 1) throw std::runtime_error("out of luck");
                          }};
};

TEST_F(CpuFailure, SurfacesAtWaitNamingTheKernel) {
  for (const uint32_t threads : {1u, 4u}) {
    const Device device = Device::cpu({.threads = threads});
    const Buffer before = device.buffer(DType::kU32, {8}), after = device.buffer(DType::kU32, {8});
    CommandEncoder encoder(device);
    encoder.dispatch(&kCount, {reads_writes(before)}, {.grid = {8}});
    encoder.memory_barrier();
    encoder.dispatch(&throws_, {reads(before)}, {.grid = {100}});
    encoder.memory_barrier();
    encoder.dispatch(&kCount, {reads_writes(after)}, {.grid = {8}});
    EXPECT_NO_THROW(encoder.commit());
    expect_failed(encoder, "kernel 'throws' failed: out of luck");
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_EQ(before.span<uint32_t>()[i], 1u);
      EXPECT_EQ(after.span<uint32_t>()[i], 0u) << "ran although what came before it had failed";
    }
    // Once told, it is over, and the encoder can be used again.
    EXPECT_NO_THROW(encoder.wait());
    encoder.dispatch(&kCount, {reads_writes(after)}, {.grid = {8}});
    EXPECT_NO_THROW(encoder.commit_and_wait());
    EXPECT_EQ(after.span<uint32_t>()[7], 1u);
  }
}

TEST_F(CpuFailure, OfAnyKind) {
  const Device device = Device::cpu({.threads = 2});
  const KernelDef odd{.name = "odd", .cpu = [](const CpuGroup&) { throw 7; }};
  const KernelDef ours{.name = "ours",
                       .cpu = [](const CpuGroup&) { fail(ErrorKind::kInvalidArgument, "inner"); }};
  CommandEncoder encoder(device);
  encoder.dispatch(&odd, {}, {.grid = {4}});
  encoder.commit();
  expect_failed(encoder, "kernel 'odd' failed: it threw something that is no std::exception");
  encoder.dispatch(&ours, {}, {.grid = {4}});
  encoder.commit();
  expect_failed(encoder, "kernel 'ours' failed: inner");
}

TEST_F(CpuFailure, IsDroppedWithTheEncoder) {
  const Device device = Device::cpu({.threads = 2});
  {
    CommandEncoder encoder(device);
    encoder.dispatch(&throws_, {}, {.grid = {4}});
    encoder.commit();
  }
  SUCCEED();
}

TEST(CpuDevice, RunsWhatIsPreparedManyTimes) {
  const Device device = Device::cpu({.threads = 2});
  const Buffer counts = device.buffer(DType::kU32, {10});
  std::unique_ptr<Executable> executable;
  {
    CommandEncoder encoder(device);
    encoder.dispatch(&kCount, {reads_writes(counts)}, {.grid = {10}});
    executable = device.backend().prepare(encoder.commands());
  }
  for (int i = 0; i < 5; ++i) {
    Completion completion;
    executable->launch(completion);
    device.backend().wait(completion);
  }
  for (const uint32_t n : counts.span<uint32_t>()) EXPECT_EQ(n, 5u);
}

TEST(CpuDevice, AnEmptyCommitIsFine) {
  CommandEncoder encoder(Device::cpu({.threads = 2}));
  EXPECT_NO_THROW(encoder.commit_and_wait());
  EXPECT_NO_THROW(encoder.commit_and_wait());
}

TEST(CpuDevice, RefusesKernelsWithoutCode) {
  const Device device = Device::cpu({.threads = 1});
  const KernelDef gpu_only{.name = "gpu_only"};
  CommandEncoder encoder(device);
  try {
    encoder.dispatch(&gpu_only, {}, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kKernelNotFound);
    EXPECT_STREQ(e.what(), "kernel 'gpu_only' has no cpu code");
  }
}

// Encoders are one thread's own, the device is everybody's.
TEST(CpuDevice, EncodersOfManyThreads) {
  const Device device = Device::cpu({.threads = 2});
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      const Buffer out = device.buffer(DType::kU32, {33});
      const KernelDef fails{.name = "fails",
                            .cpu = [](const CpuGroup&) { throw std::runtime_error("planned"); }};
      CommandEncoder encoder(device);
      for (uint32_t round = 0; round < 100; ++round) {
        const uint32_t value = t * 1000 + round;
        encoder.dispatch(&kStore, {bytes(value), writes(out)}, {.grid = {33}});
        encoder.commit_and_wait();
        for (const uint32_t got : out.span<uint32_t>()) wrong += got != value;
        if (round % 50 != t) continue;
        // One thread's failure is its own.
        encoder.dispatch(&fails, {}, {.grid = {3}});
        try {
          encoder.commit_and_wait();
          ++wrong;
        } catch (const Error&) {
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(CpuDevice, DevicesAreApart) {
  const Device a = Device::cpu({.threads = 1}), b = Device::cpu({.threads = 2});
  EXPECT_FALSE(a == b);
  EXPECT_TRUE(a == Device(a));
  a.registry().add({.name = "mine", .cpu = &count_group});
  EXPECT_THROW(b.registry().resolve("mine"), Error);
  CommandEncoder encoder(b);
  EXPECT_THROW(encoder.dispatch(&kCount, {reads_writes(a.buffer(DType::kU32, {1}))}, {.grid = {1}}),
               Error);
}

}  // namespace
}  // namespace decant
