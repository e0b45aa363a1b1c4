#include "decant/core/encoder.h"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "decant/core/error.h"
#include "testing/count_allocations.h"

namespace decant {
namespace {

using testing::count_allocations;

// out[i] = a[i] + b[i] + addend
void add_kernel(const CpuGroup& group) {
  const auto addend = group.params<float>();
  for (size_t i = 0; i < group.args[3].bytes / sizeof(float); ++i)
    group.arg<float>(3)[i] = group.arg<const float>(1)[i] + group.arg<const float>(2)[i] + addend;
}

class EncoderTest : public ::testing::Test {
 protected:
  EncoderTest() {
    registry.add({.name = "touch", .cpu = [](const CpuGroup&) {}});
    registry.add({.name = "add", .kind = OpKind::kElementwise, .cpu = &add_kernel});
    registry.add(
        {.name = "fail", .cpu = [](const CpuGroup&) { throw std::runtime_error("out of luck"); }});
    registry.add({.name = "elsewhere"});  // no code for the CPU
    touch = registry.resolve("touch");
    add = registry.resolve("add");
  }

  // Whether each dispatch has a barrier before it: ".|." for three with one before the second and
  // so on.
  std::string barriers() const {
    std::string text;
    for (const Dispatch& dispatch : encoder.commands().dispatches)
      text += dispatch.barrier_before ? "|." : ".";
    return text;
  }
  void run(std::initializer_list<KernelArg> args) { encoder.dispatch(touch, args, {}); }

  template <typename F>
  void expect_error(F&& call, ErrorKind kind, const std::string& message) {
    try {
      call();
      ADD_FAILURE() << "no error; expected: " << message;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), kind);
      EXPECT_EQ(e.what(), message);
    }
  }

  Device device = Device::cpu({.threads = 2});
  KernelRegistry& registry = device.registry();
  CommandEncoder encoder{device};
  Kernel touch = nullptr, add = nullptr;
  Buffer a = device.buffer(DType::kF32, {8}), b = device.buffer(DType::kF32, {8}),
         c = device.buffer(DType::kF32, {8}), d = device.buffer(DType::kF32, {8});
};

using EncoderBarriers = EncoderTest;

TEST_F(EncoderBarriers, ReadAfterWrite) {
  run({reads(a), writes(b)});
  run({reads(b), writes(c)});
  EXPECT_EQ(barriers(), ".|.");
}

TEST_F(EncoderBarriers, WriteAfterRead) {
  run({reads(a), writes(b)});
  run({reads(c), writes(a)});
  EXPECT_EQ(barriers(), ".|.");
}

TEST_F(EncoderBarriers, WriteAfterWrite) {
  run({writes(a)});
  run({writes(a)});
  EXPECT_EQ(barriers(), ".|.");
}

TEST_F(EncoderBarriers, ReadWriteCountsAsBoth) {
  run({reads_writes(a)});
  run({reads(a)});
  run({reads_writes(a)});
  EXPECT_EQ(barriers(), ".|.|.");
}

TEST_F(EncoderBarriers, NoneBetweenReadersOrStrangers) {
  run({reads(a), writes(b)});
  run({reads(a), writes(c)});
  run({reads(a), writes(d)});
  run({bytes(7)});
  EXPECT_EQ(barriers(), "....");
}

TEST_F(EncoderBarriers, AnArgumentMayBeItsOwnOutput) {
  run({reads(a), writes(a)});
  EXPECT_EQ(barriers(), ".");
}

// The writer of `a` stands before the first barrier; what comes behind that needs no second one.
TEST_F(EncoderBarriers, OneBarrierServesAllBeforeIt) {
  run({writes(a)});
  run({writes(b)});
  run({reads(a)});  // barrier
  run({reads(b)});  // b was written before it too
  run({writes(c)});
  run({writes(b)});  // barrier: b was read since
  run({writes(a)});  // a was read before the second barrier
  EXPECT_EQ(barriers(), "..|...|..");
}

TEST_F(EncoderBarriers, SlicesConflictWhereTheyOverlap) {
  const Buffer left = a.rows(0, 4), right = a.rows(4, 4), middle = a.rows(3, 2);
  run({writes(left)});
  run({writes(right)});  // disjoint, adjacent
  EXPECT_EQ(barriers(), "..");
  run({reads(middle)});
  EXPECT_EQ(barriers(), "..|.");
  run({writes(a.rows(0, 3))});
  run({writes(a.rows(5, 3))});
  EXPECT_EQ(barriers(), "..|...");
  run({writes(a.slice(16, DType::kU8, {1}))});  // one byte of element 4
  EXPECT_EQ(barriers(), "..|...|.");
  run({reads(a.slice(15, DType::kU8, {1})), reads(a.slice(17, DType::kU8, {1}))});
  EXPECT_EQ(barriers(), "..|...|..");
  run({reads(a)});
  EXPECT_EQ(barriers(), "..|...|..|.");
}

TEST_F(EncoderBarriers, Forced) {
  encoder.memory_barrier();  // nothing stands before it
  run({writes(a)});
  encoder.memory_barrier();
  encoder.memory_barrier();
  run({writes(b)});
  run({writes(c)});
  run({reads(a)});  // the forced barrier serves it
  EXPECT_EQ(barriers(), ".|...");
  run({reads(b)});
  EXPECT_EQ(barriers(), ".|...|.");
}

TEST_F(EncoderBarriers, AForcedOneDoesNotOutliveTheCommit) {
  run({writes(a)});
  encoder.memory_barrier();
  encoder.commit_and_wait();
  run({reads(a)});
  EXPECT_EQ(barriers(), ".");
}

using EncoderErrors = EncoderTest;

TEST_F(EncoderErrors, RejectedDispatchesRecordNothing) {
  const Device other = Device::cpu({.threads = 1});
  const std::vector<std::byte> file(16);
  const Buffer mapped = device.wrap(file, DType::kU8, {16}, nullptr);
  run({reads(mapped)});
  ASSERT_EQ(encoder.commands().dispatches.size(), 1u);
  const size_t args = encoder.commands().args.size();
  const auto rejected = [&](std::initializer_list<KernelArg> list, const Launch& launch,
                            const std::string& message) {
    expect_error([&] { encoder.dispatch(touch, list, launch); }, ErrorKind::kInvalidArgument,
                 message);
    EXPECT_EQ(encoder.commands().dispatches.size(), 1u);
    EXPECT_EQ(encoder.commands().args.size(), args);
  };
  for (const KernelArg& arg : {writes(mapped), reads_writes(mapped)})
    rejected({reads(a), arg}, {}, "touch: argument 1 is written but its memory is read-only");
  const Buffer foreign = other.buffer(DType::kF32, {1}), none;
  rejected({reads(foreign)}, {},
           "touch: argument 0 belongs to another device than " + device.name());
  rejected({reads(a), reads(none)}, {}, "touch: argument 1 is an empty buffer");
  for (const Dim3 empty : {Dim3{0, 1, 1}, Dim3{1, 0, 1}, Dim3{1, 1, 0}}) {
    EXPECT_THROW(encoder.dispatch(touch, {reads(a)}, {.grid = empty}), Error);
    EXPECT_THROW(encoder.dispatch(touch, {reads(a)}, {.group = empty}), Error);
  }
  EXPECT_THROW(encoder.dispatch(nullptr, {reads(a)}, {}), Error);
  expect_error([&] { encoder.dispatch(registry.resolve("elsewhere"), {reads(a)}, {}); },
               ErrorKind::kKernelNotFound, "kernel 'elsewhere' has no cpu code");
  EXPECT_EQ(encoder.commands().dispatches.size(), 1u);
}

TEST_F(EncoderErrors, CommitTwiceAndRecordingAfterCommit) {
  run({writes(a)});
  encoder.commit();
  expect_error([&] { encoder.commit(); }, ErrorKind::kInvalidArgument,
               "CommandEncoder::commit: called twice without wait()");
  expect_error([&] { run({reads(a)}); }, ErrorKind::kInvalidArgument,
               "touch: the encoder was committed; call wait() before recording again");
  encoder.wait();
  EXPECT_TRUE(encoder.commands().dispatches.empty());
  run({reads(a)});
  encoder.commit_and_wait();
  encoder.wait();             // nothing under way: returns at once
  encoder.commit_and_wait();  // nothing recorded: nothing to do
}

TEST_F(EncoderErrors, AFailingKernelSurfacesAtWaitAndStopsWhatFollows) {
  const float one = 1;
  encoder.dispatch(registry.resolve("fail"), {writes(a)}, {.grid = {5}});
  encoder.dispatch(add, {bytes(one), reads(a), reads(a), writes(b)}, {});
  encoder.commit();
  expect_error([&] { encoder.wait(); }, ErrorKind::kCommandFailed,
               "kernel 'fail' failed: out of luck");
  EXPECT_EQ(b.span<float>()[0], 0) << "ran behind the barrier of a failed kernel";
  // The error is told once, and the encoder works again.
  encoder.dispatch(add, {bytes(one), reads(a), reads(a), writes(b)}, {});
  encoder.commit_and_wait();
  EXPECT_EQ(b.span<float>()[0], 1);
}

TEST_F(EncoderErrors, DestructionSwallowsAFailure) {
  CommandEncoder dropped(device);
  dropped.dispatch(registry.resolve("fail"), {writes(a)}, {});
  dropped.commit();
}

TEST_F(EncoderTest, OpKindOverrideLastsForOneDispatch) {
  const float zero = 0;
  const auto record = [&] {
    encoder.dispatch(add, {bytes(zero), reads(a), reads(b), writes(c)}, {});
  };
  record();
  encoder.set_op_kind(OpKind::kSdpa);
  record();
  record();
  const std::vector<Dispatch>& recorded = encoder.commands().dispatches;
  EXPECT_EQ(recorded[0].kind, OpKind::kElementwise);
  EXPECT_EQ(recorded[1].kind, OpKind::kSdpa);
  EXPECT_EQ(recorded[2].kind, OpKind::kElementwise);
}

TEST_F(EncoderTest, BytesAreCopiedWhenRecorded) {
  float addend = 5;
  encoder.dispatch(add, {bytes(addend), reads(a), reads(b), writes(c)}, {});
  addend = 7;
  encoder.dispatch(add, {bytes(addend), reads(a), reads(b), writes(d)}, {});
  addend = 100;
  encoder.commit_and_wait();
  EXPECT_EQ(c.span<float>()[3], 5);
  EXPECT_EQ(d.span<float>()[3], 7);
}

TEST_F(EncoderTest, ParamsMayComeFromABuffer) {
  const Buffer params = device.buffer(DType::kF32, {1});
  encoder.dispatch(add, {params_arg(3.0f, Buffer()), reads(a), reads(b), writes(c)}, {});
  encoder.dispatch(add, {params_arg(3.0f, params), reads(a), reads(b), writes(d)}, {});
  params.span<float>()[0] = 11;  // after recording
  encoder.commit_and_wait();
  EXPECT_EQ(c.span<float>()[0], 3);
  EXPECT_EQ(d.span<float>()[0], 11);
}

TEST_F(EncoderTest, KeepsBuffersThatTheCallerReleased) {
  const float zero = 0;
  std::weak_ptr<Storage> watched;
  {
    const std::vector<float> twos(8, 2.0f);
    const Buffer temporary = device.upload<float>(twos, DType::kF32, {8});
    watched = temporary.storage();
    encoder.dispatch(add, {bytes(zero), reads(temporary), reads(temporary), writes(c)}, {});
  }
  EXPECT_FALSE(watched.expired());
  encoder.commit_and_wait();
  EXPECT_EQ(c.span<float>()[7], 4);
  EXPECT_TRUE(watched.expired()) << "kept beyond wait()";
}

TEST_F(EncoderTest, DropsWhatWasNeverCommitted) {
  const float one = 1;
  {
    CommandEncoder dropped(device);
    dropped.dispatch(add, {bytes(one), reads(a), reads(b), writes(c)}, {});
  }
  EXPECT_EQ(c.span<float>()[0], 0);
}

// Many threads, many regions: every group runs once, and a barrier is one.
TEST_F(EncoderTest, RunsEveryGroupOnceAndInOrderOfBarriers) {
  registry.add({.name = "count", .cpu = [](const CpuGroup& g) {
                  const size_t i =
                      (size_t{g.group.z} * g.grid.y + g.group.y) * g.grid.x + g.group.x;
                  const uint32_t* from = g.arg<const uint32_t>(0);
                  g.arg<uint32_t>(1)[i] += from[g.grid.count() - 1 - i] + 1;
                }});
  const Kernel count = registry.resolve("count");
  const Buffer x = device.buffer(DType::kU32, {60}), y = device.buffer(DType::kU32, {60});
  for (int i = 0; i < 20; ++i)  // each reads what all groups of the one before wrote
    encoder.dispatch(count, {reads(i % 2 ? y : x), reads_writes(i % 2 ? x : y)},
                     {.grid = {3, 4, 5}});
  encoder.commit_and_wait();
  uint32_t expect_x = 0, expect_y = 0;
  for (int i = 0; i < 20; ++i) (i % 2 ? expect_x : expect_y) += (i % 2 ? expect_y : expect_x) + 1;
  for (size_t i = 0; i < 60; ++i) {
    EXPECT_EQ(x.span<uint32_t>()[i], expect_x);
    EXPECT_EQ(y.span<uint32_t>()[i], expect_y);
  }
}

TEST_F(EncoderTest, ReuseAllocatesNothing) {
  const float one = 1;
  const auto round = [&] {
    for (int i = 0; i < 10; ++i) {
      encoder.dispatch(add, {bytes(one), reads(a), reads(b), writes(c)}, {});
      encoder.dispatch(touch, {reads(a)}, {.grid = {3}});
      encoder.dispatch(add, {bytes(one), reads(c), reads(b), writes(d.rows(0, 8))}, {});
      encoder.memory_barrier();
      const Buffer scratch = encoder.scratch(DType::kF32, {8});
      encoder.dispatch(touch, {reads(d), writes(scratch)}, {.shared_bytes = 100});
    }
    encoder.commit_and_wait();
  };
  round();
  round();
  const size_t before = count_allocations();
  for (int i = 0; i < 10; ++i) round();
  EXPECT_EQ(count_allocations() - before, 0u);
  ::operator delete(::operator new(100));  // the counter counts
  EXPECT_EQ(count_allocations() - before, 1u);
}

TEST_F(EncoderTest, ZeroedScratchIsSharedUntilALargerOneIsAsked) {
  const Buffer first = encoder.zeroed_scratch(100), second = encoder.zeroed_scratch(60);
  EXPECT_EQ(first.byte_len(), 100u);
  EXPECT_EQ(second.byte_len(), 60u);
  EXPECT_TRUE(first.overlaps(second));
  for (const uint8_t byte : first.span<uint8_t>()) EXPECT_EQ(byte, 0);
  // The larger one takes nothing away from those who have the smaller.
  const Buffer larger = encoder.zeroed_scratch(5000);
  EXPECT_FALSE(larger.overlaps(first));
  EXPECT_TRUE(larger.overlaps(encoder.zeroed_scratch(100)));
  for (const uint8_t byte : larger.span<uint8_t>()) EXPECT_EQ(byte, 0);
}

// An encoder per thread over one device.
TEST_F(EncoderTest, ThreadsWithTheirOwnEncoders) {
  const std::array<Buffer, 4> outs = {
      device.buffer(DType::kF32, {8}), device.buffer(DType::kF32, {8}),
      device.buffer(DType::kF32, {8}), device.buffer(DType::kF32, {8})};
  std::vector<std::thread> threads;
  threads.reserve(outs.size());
  for (size_t t = 0; t < outs.size(); ++t)
    threads.emplace_back([&, t] {
      CommandEncoder own(device);
      const auto addend = static_cast<float>(t);
      for (int i = 0; i < 50; ++i) {
        own.dispatch(add, {bytes(addend), reads(outs[t]), reads(a), writes(outs[t])}, {});
        own.commit_and_wait();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < outs.size(); ++t)
    EXPECT_EQ(outs[t].span<float>()[5], 50.0f * static_cast<float>(t));
}

}  // namespace
}  // namespace decant
