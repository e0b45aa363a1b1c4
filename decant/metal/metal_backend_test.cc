// The backend by itself: on macOS on the machine's GPU, on Linux on the host executor, where more
// can be seen (what runs out of bounds, what was never released).
#include "decant/metal/metal_backend.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "decant/core/encoder.h"
#include "decant/core/error.h"
#include "decant/core/graph.h"
#if defined(__linux__)
#include "testing/metal_host/host.h"
#endif

namespace decant {
namespace {

constexpr const char* kSource = R"(
#include <metal_stdlib>
using namespace metal;
constant uint width [[function_constant(0)]];

struct Affine {
  float scale, shift;
};
kernel void affine(constant Affine& p [[buffer(0)]], device const float* x [[buffer(1)]],
                   device float* y [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  y[i] = x[i] * p.scale + p.shift;
}
kernel void reverse(device const float* x [[buffer(0)]], device float* y [[buffer(1)]],
                    threadgroup float* shared [[threadgroup(0)]],
                    uint group [[threadgroup_position_in_grid]],
                    uint i [[thread_position_in_threadgroup]],
                    uint n [[threads_per_threadgroup]]) {
  shared[i] = x[group * n + i];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[group * n + i] = shared[n - 1 - i];
}
kernel void put_width(device uint* to [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  to[i] = width;
}
kernel void sum_bytes(device const uchar* from [[buffer(0)]], constant uint& n [[buffer(1)]],
                      device uint* to [[buffer(2)]], uint i [[thread_position_in_grid]]) {
  if (i != 0) return;
  uint sum = 0;
  for (uint j = 0; j < n; ++j) sum += from[j];
  *to = sum;
}
kernel void big_variable(device float* to [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float room[4096];
  room[i] = 1;
  to[i] = room[i];
}
)";
struct Affine {
  float scale, shift;
};

class MetalBackend : public ::testing::Test {
 protected:
  Kernel kernel(const std::string& name, const std::string& entry, const std::string& source,
                std::vector<KernelConstant> constants = {}) {
    device.registry().add(
        {.name = name,
         .metal = {.source = source, .entry = entry, .constants = std::move(constants)}});
    return device.registry().resolve(name);
  }
  Kernel kernel(const std::string& entry) { return kernel(entry, entry, kSource); }

  Buffer floats(std::vector<float> values) {
    return device.upload<float>(values, DType::kF32, {values.size()});
  }
  static std::vector<float> values(const Buffer& buffer) {
    const auto all = buffer.span<float>();
    return {all.begin(), all.end()};
  }
  // What commit and wait throw.
  static Error failure(CommandEncoder& encoder) {
    try {
      encoder.commit_and_wait();
    } catch (const Error& e) {
      return e;
    }
    return {ErrorKind::kIo, "nothing was thrown"};
  }

  Device device{metal::make_backend()};
};

TEST_F(MetalBackend, TellsWhatItIs) {
  const DeviceInfo& info = device.info();
  EXPECT_EQ(info.backend, BackendKind::kMetal);
  EXPECT_FALSE(info.name.empty());
  EXPECT_EQ(info.capability.substr(0, 5), "apple");
  EXPECT_GT(info.memory_bytes, 0u);
  EXPECT_TRUE(info.asynchronous);
}

TEST_F(MetalBackend, ArgumentsArriveInTheirSlots) {
  const Buffer x = floats({1, 2, 3, 4, 5, 6, 7, 8}), y = floats(std::vector<float>(8, -1.0f));
  CommandEncoder encoder(device);
  encoder.dispatch(kernel("affine"),
                   {bytes(Affine{2, 0.5f}), reads(x.slice(8, {4})), writes(y.slice(16, {4}))},
                   {.grid = {2}, .group = {2}});
  encoder.commit_and_wait();
  EXPECT_EQ(values(y), (std::vector<float>{-1, -1, -1, -1, 6.5f, 8.5f, 10.5f, 12.5f}));
}

TEST_F(MetalBackend, ThreadgroupMemory) {
  const Buffer x = floats({1, 2, 3, 4, 5, 6}), y = floats(std::vector<float>(6));
  CommandEncoder encoder(device);
  // 12 bytes: no multiple of 16, as Metal wants it.
  encoder.dispatch(kernel("reverse"), {reads(x), writes(y)},
                   {.grid = {2}, .group = {3}, .shared_bytes = 12});
  encoder.commit_and_wait();
  EXPECT_EQ(values(y), (std::vector<float>{3, 2, 1, 6, 5, 4}));
}

TEST_F(MetalBackend, ConstantsMakeVariantsOfOneFunction) {
  const Kernel seven = kernel("seven", "put_width", kSource, {{"width", 7}}),
               nine = kernel("nine", "put_width", kSource, {{"width", 9}});
  const Buffer to = device.buffer(DType::kU32, {2});
  CommandEncoder encoder(device);
  encoder.dispatch(seven, {writes(to.rows(0, 1))}, {});
  encoder.dispatch(nine, {writes(to.rows(1, 1))}, {});
  encoder.commit_and_wait();
  EXPECT_EQ(to.span<uint32_t>()[0], 7u);
  EXPECT_EQ(to.span<uint32_t>()[1], 9u);
}

TEST_F(MetalBackend, DispatchesThatDependOnEachOtherRunInOrder) {
  const Kernel affine = kernel("affine");
  for (int round = 0; round < 5; ++round) {
    const Buffer a = floats({1}), b = floats({0}), other = floats({5});
    CommandEncoder encoder(device);
    for (int i = 0; i < 10; ++i) {
      encoder.dispatch(affine, {bytes(Affine{2, 1}), reads(a), writes(b)}, {});
      encoder.dispatch(affine, {bytes(Affine{1, 1}), reads(other), writes(other)}, {});
      encoder.dispatch(affine, {bytes(Affine{3, -1}), reads(b), writes(a)}, {});
    }
    encoder.commit_and_wait();
    float want = 1;
    for (int i = 0; i < 10; ++i) want = (want * 2 + 1) * 3 - 1;
    EXPECT_EQ(values(a)[0], want);
    EXPECT_EQ(values(other)[0], 15);
  }
}

TEST_F(MetalBackend, BytesOfAnyLength) {
  struct Long {
    std::array<uint8_t, 5000> content;
  } value{};
  std::iota(value.content.begin(), value.content.end(), uint8_t{1});
  const Kernel sum = kernel("sum_bytes");
  const Buffer to = device.buffer(DType::kU32, {1});
  for (const uint32_t n : {1u, 4096u, 5000u}) {
    CommandEncoder encoder(device);
    encoder.dispatch(sum, {bytes(value), bytes(n), writes(to)}, {});
    encoder.commit_and_wait();
    EXPECT_EQ(to.span<uint32_t>()[0],
              std::accumulate(value.content.begin(), value.content.begin() + n, 0u));
  }
}

TEST_F(MetalBackend, WrapsWholePagesWithoutACopy) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = page + 100;  // a file rarely ends with its page
  auto* memory = static_cast<uint8_t*>(
      mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0));
  ASSERT_NE(memory, MAP_FAILED);
  std::memset(memory, 1, bytes);
  bool gone = false;
  std::shared_ptr<const void> owner(memory, [&](void* p) {
    munmap(p, 2 * page);
    gone = true;
  });
  const Kernel sum = kernel("sum_bytes");
  const Buffer to = device.buffer(DType::kU32, {1});
  for (const size_t offset : {size_t{0}, size_t{3}}) {
    SCOPED_TRACE(offset);
    const Buffer wrapped = device.wrap(std::as_bytes(std::span(memory + offset, bytes - offset)),
                                       DType::kU8, {bytes - offset}, owner);
    EXPECT_EQ(wrapped.host() == reinterpret_cast<std::byte*>(memory), offset == 0);
    CommandEncoder encoder(device);
    encoder.dispatch(
        sum, {reads(wrapped), decant::bytes(static_cast<uint32_t>(bytes - offset)), writes(to)},
        {});
    encoder.commit_and_wait();
    EXPECT_EQ(to.span<uint32_t>()[0], bytes - offset);
    EXPECT_THROW(encoder.dispatch(sum, {writes(wrapped)}, {}), Error);
  }
  EXPECT_FALSE(gone);
  owner.reset();
  EXPECT_TRUE(gone);
}

TEST_F(MetalBackend, ReplaysFollowEachOther) {
  const Kernel affine = kernel("affine");
  const Buffer a = floats({0}), b = floats({0});
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    encoder.dispatch(affine, {bytes(Affine{1, 1}), reads(a), writes(b)}, {});
    encoder.dispatch(affine, {bytes(Affine{1, 0}), reads(b), writes(a)}, {});
  });
  for (int i = 0; i < 20; ++i) graph.replay();
  graph.wait();
  EXPECT_EQ(values(a)[0], 20);
  EXPECT_TRUE(graph.done());
  graph.replay_and_wait();
  EXPECT_EQ(values(a)[0], 21);
}

TEST_F(MetalBackend, WhatDoesNotCompileIsToldWithTheLog) {
  const Buffer a = floats({0});
  CommandEncoder encoder(device);
  encoder.dispatch(kernel("bad", "bad", "kernel void bad() {\n  undeclared = 1;\n}\n"), {reads(a)},
                   {});
  const Error compile = failure(encoder);
  EXPECT_EQ(compile.kind(), ErrorKind::kCompilationFailed);
  EXPECT_NE(std::string(compile.what()).find("kernel 'bad'"), std::string::npos) << compile.what();
  EXPECT_NE(std::string(compile.what()).find("undeclared"), std::string::npos) << compile.what();

  encoder.dispatch(kernel("none", "none", kSource), {reads(a)}, {});
  const Error missing = failure(encoder);
  EXPECT_EQ(missing.kind(), ErrorKind::kCompilationFailed);
  EXPECT_NE(std::string(missing.what()).find("'none'"), std::string::npos) << missing.what();

  // A graph is told when it is captured.
  EXPECT_THROW(Graph::capture(device,
                              [&](CommandEncoder& captured) {
                                captured.dispatch(device.registry().resolve("bad"), {reads(a)}, {});
                              }),
               Error);
}

TEST_F(MetalBackend, GroupsThatDoNotFitAreRefused) {
  const Buffer a = floats(std::vector<float>(4096));
  const auto message = [&](Kernel what, const Launch& launch, bool two) -> std::string {
    CommandEncoder encoder(device);
    if (two)
      encoder.dispatch(what, {reads(a), writes(a)}, launch);
    else
      encoder.dispatch(what, {writes(a)}, launch);
    return failure(encoder).what();
  };
  EXPECT_NE(message(kernel("reverse"), {.group = {2048}, .shared_bytes = 16}, true)
                .find("kernel 'reverse': 2048 threads a group, but at most "),
            std::string::npos);
  EXPECT_NE(
      message(device.registry().resolve("reverse"), {.group = {32}, .shared_bytes = 1 << 20}, true)
          .find("kernel 'reverse': 1048576 bytes of threadgroup memory, the device has "),
      std::string::npos);
  const Kernel big = kernel("big_variable");
  EXPECT_EQ(message(big, {.group = {32}}, false), "nothing was thrown");
}

TEST_F(MetalBackend, MemoryThatThereIsNot) {
  try {
    device.buffer(DType::kU8, {uint64_t{1} << 50});
    FAIL() << "a petabyte was allocated";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kAllocationFailed);
    EXPECT_NE(std::string(e.what()).find("1125899906842624 bytes"), std::string::npos) << e.what();
  }
  EXPECT_EQ(device.buffer(DType::kF32, {0}).byte_len(), 0u);
}

#if defined(__linux__)

TEST_F(MetalBackend, ACommandBufferThatFailsIsTold) {
  const Kernel affine = kernel("affine");
  const Buffer x = floats({1}), y = floats({1});
  CommandEncoder encoder(device);
  encoder.dispatch(affine, {bytes(Affine{1, 1}), reads(x), writes(y)}, {.grid = {1 << 20}});
  const Error error = failure(encoder);
  EXPECT_EQ(error.kind(), ErrorKind::kCommandFailed);
  EXPECT_NE(std::string(error.what()).find("kernel 'affine' failed"), std::string::npos)
      << error.what();
  // The device goes on.
  encoder.dispatch(affine, {bytes(Affine{1, 1}), reads(x), writes(y)}, {});
  encoder.commit_and_wait();
  EXPECT_EQ(values(y)[0], 2);

  Graph graph = Graph::capture(device, [&](CommandEncoder& captured) {
    captured.dispatch(affine, {bytes(Affine{1, 1}), reads(x), writes(y)}, {.grid = {1 << 20}});
  });
  graph.replay();
  EXPECT_THROW(graph.wait(), Error);
}

// The executor runs a command buffer at the wait: whatever nobody keeps until then is gone.
TEST_F(MetalBackend, BuffersLiveUntilTheWorkIsDone) {
  const Kernel affine = kernel("affine");
  const Buffer y = floats({0});
  CommandEncoder encoder(device);
  {
    const Buffer x = floats({5});
    encoder.dispatch(affine, {bytes(Affine{2, 1}), reads(x), writes(y)}, {});
  }
  encoder.commit();
  encoder.wait();
  EXPECT_EQ(values(y)[0], 11);
  Graph graph = [&] {
    const Buffer x = floats({6});
    return Graph::capture(device, [&](CommandEncoder& captured) {
      captured.dispatch(affine, {bytes(Affine{2, 1}), reads(x), writes(y)}, {});
    });
  }();
  graph.replay();
  graph.wait();
  EXPECT_EQ(values(y)[0], 13);
}

// Two kernels of one file and any number of replays: one library, two pipelines.
TEST_F(MetalBackend, CompilesOncePerFileAndKernel) {
  const auto live = [](const char* name) { return metal_host::live_objects(name); };
  const long libraries = live("MTLLibrary"), pipelines = live("MTLComputePipelineState");
  const Kernel affine = kernel("affine"), width = kernel("w", "put_width", kSource, {{"width", 1}});
  const Buffer a = floats({0}), to = device.buffer(DType::kU32, {1});
  EXPECT_EQ(live("MTLLibrary"), libraries) << "nothing is compiled before its first use";
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    encoder.dispatch(affine, {bytes(Affine{1, 1}), reads(a), writes(a)}, {});
    encoder.dispatch(width, {writes(to)}, {});
  });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(live("MTLLibrary"), libraries + 1);
    EXPECT_EQ(live("MTLComputePipelineState"), pipelines + 2);
    graph.replay_and_wait();
  }
}

// What there is when a command buffer is committed stands in the queue's residency set. Without
// residency sets all works without them.
TEST(MetalBackendMemory, StaysResident) {
  const metal_host::HostOptions options = metal_host::host_options();
  for (const bool sets : {true, false}) {
    metal_host::HostOptions changed = options;
    changed.residency_sets = sets;
    metal_host::set_host_options(changed);
    const long before = metal_host::resident_allocations(),
               live = metal_host::live_objects("MTLResidencySet");
    {
      const Device device(metal::make_backend());
      EXPECT_EQ(metal_host::live_objects("MTLResidencySet"), live + sets);
      device.registry().add({.name = "affine", .metal = {.source = kSource, .entry = "affine"}});
      const Kernel affine = device.registry().resolve("affine");
      const Buffer y = device.buffer(DType::kF32, {1});
      CommandEncoder encoder(device);
      for (int i = 0; i < 3; ++i) {
        const Buffer passing = device.buffer(DType::kF32, {1});
        encoder.dispatch(affine, {bytes(Affine{1, 2}), reads(passing), writes(y)}, {});
        encoder.commit_and_wait();
        EXPECT_EQ(metal_host::resident_allocations(), before + 2 * sets);
        EXPECT_EQ(y.span<float>()[0], 2);
      }
    }
    EXPECT_EQ(metal_host::resident_allocations(), before);
  }
  metal_host::set_host_options(options);
}

TEST(MetalBackendMemory, EverythingIsReleased) {
  constexpr const char* kClasses[] = {
      "MTLBuffer",        "MTLCommandBuffer", "MTLCommandQueue", "MTLComputeCommandEncoder",
      "MTLLibrary",       "MTLFunction",      "MTLResidencySet", "MTLComputePipelineState",
      "MTLCompileOptions"};
  std::vector<long> before;
  for (const char* name : kClasses) before.push_back(metal_host::live_objects(name));
  {
    const Device device(metal::make_backend());
    device.registry().add({.name = "affine", .metal = {.source = kSource, .entry = "affine"}});
    const Kernel affine = device.registry().resolve("affine");
    const Buffer x = device.buffer(DType::kF32, {64}), y = device.buffer(DType::kF32, {64});
    const auto record = [&](CommandEncoder& encoder) {
      encoder.dispatch(affine, {bytes(Affine{1, 1}), reads(x), writes(y)}, {.grid = {64}});
    };
    CommandEncoder encoder(device);
    record(encoder);
    encoder.commit_and_wait();
    Graph graph = Graph::capture(device, record);
    for (int i = 0; i < 3; ++i) graph.replay();  // nobody waits
  }
  for (size_t i = 0; i < std::size(kClasses); ++i)
    EXPECT_EQ(metal_host::live_objects(kClasses[i]), before[i]) << kClasses[i];
}

#endif

}  // namespace
}  // namespace decant
