// What the backend asks of the driver, seen by a driver that stands for NVIDIA's.
#include "decant/cuda/cuda_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>
#include <thread>

#include "decant/core/encoder.h"
#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "decant/cuda/test_backend.h"
#include "testing/fake_cuda/fake_cuda.h"

namespace decant {
namespace {

namespace fake = testing::fake_cuda;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(CudaBackendTest, SaysWhatTheDeviceIs) {
  fake::driver().num_devices = 2;
  CudaOptions options = fake::options();
  options.ordinal = 1;
  const Device device = Device::cuda(options);
  EXPECT_EQ(device.info().backend, BackendKind::kCuda);
  EXPECT_EQ(device.name(), "Fake GPU 1");
  EXPECT_EQ(device.info().capability, "sm_90");
  EXPECT_EQ(device.info().compute_units, 132u);
  EXPECT_EQ(device.info().memory_bytes, uint64_t{1} << 30);
  EXPECT_TRUE(device.info().asynchronous);
}

TEST_F(CudaBackendTest, MemoryIsZeroedCopiedAndFreed) {
  const Device device = Device::cuda(fake::options());
  for (const uint64_t n : {0, 1, 5, 16384, 16385, 100000}) {
    SCOPED_TRACE(n);
    const Buffer buffer = device.buffer(DType::kU32, {n});
    EXPECT_EQ(buffer.host(), nullptr);
    std::vector<uint32_t> values(n), got(n, 7);
    device.read(buffer, std::as_writable_bytes(std::span(got)));
    EXPECT_EQ(got, values) << "zeroed";
    std::iota(values.begin(), values.end(), 1);
    device.write(buffer, std::as_bytes(std::span(values)));
    device.read(buffer, std::as_writable_bytes(std::span(got)));
    EXPECT_EQ(got, values);
    if (n >= 5) {
      device.read(buffer.rows(1, 4), std::as_writable_bytes(std::span(got).first(4)));
      EXPECT_THAT(std::span(got).first(4), ElementsAre(2, 3, 4, 5));
      device.zero(buffer.rows(1, 3));
      device.read(buffer.rows(0, 5), std::as_writable_bytes(std::span(got).first(5)));
      EXPECT_THAT(std::span(got).first(5), ElementsAre(1, 0, 0, 0, 5));
    }
    EXPECT_THROW((void)buffer.span<uint32_t>(), Error);
  }
  EXPECT_EQ(fake::driver().alive.device_allocations, 0);
}

TEST_F(CudaBackendTest, WrappedMemoryIsACopy) {
  const Device device = Device::cuda(fake::options());
  const auto owner = std::make_shared<std::vector<std::byte>>(1000, std::byte{9});
  const Buffer wrapped = device.wrap(*owner, DType::kU8, {1000}, owner);
  EXPECT_EQ(owner.use_count(), 1) << "what was copied need not be kept";
  EXPECT_THROW(device.write(wrapped, *owner), Error);
  std::vector<std::byte> got(1000);
  device.read(wrapped, got);
  EXPECT_EQ(got, *owner);
}

TEST_F(CudaBackendTest, OutOfMemoryNamesSizes) {
  fake::driver().memory_bytes = 1000;
  const Device device = Device::cuda(fake::options());
  const Buffer some = device.buffer(DType::kU8, {600});
  fails(ErrorKind::kAllocationFailed, "cannot allocate 401 bytes (of the device's 1000 bytes 400",
        [&] { (void)device.buffer(DType::kU8, {401}); });
  (void)device.buffer(DType::kU8, {400});
}

TEST_F(CudaBackendTest, MemoryMayOutliveTheDevice) {
  Buffer kept;
  {
    const Device device = Device::cuda(fake::options());
    kept = device.buffer(DType::kU8, {10});
  }
  EXPECT_EQ(fake::driver().alive.contexts, 1);
  kept = {};
}

TEST_F(CudaBackendTest, ArgumentsBecomeParameters) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64}), out = device.buffer(DType::kF32, {64});
  const auto address = [](const Buffer& buffer) { return cuda::address_of(buffer); };
  const std::array<uint32_t, 2> words{5, 6};
  CommandEncoder encoder(device);
  encoder.dispatch(&kScale,
                   {bytes(Params{1, 2, 3}), reads(x.rows(3, 8)), bytes(words), writes(out)},
                   {.grid = {7, 6, 5}, .group = {32, 2}, .shared_bytes = 1024});
  // Slot 0 as a buffer: zeros by value, and the pointer.
  const Buffer params = device.buffer(DType::kU32, {3});
  encoder.dispatch(&kScale, {reads(params), reads(x), bytes(words), writes(out)},
                   {.grid = {1}, .group = {128}, .cluster = {1, 1, 1}, .cooperative = true});
  encoder.commit_and_wait();

  const std::vector<fake::Launch>& launches = fake::driver().launches;
  ASSERT_EQ(launches.size(), 2u);
  EXPECT_EQ(launches[0].kernel, "scale");
  EXPECT_THAT(launches[0].grid, ElementsAre(7, 6, 5));
  EXPECT_THAT(launches[0].block, ElementsAre(32, 2, 1));
  EXPECT_EQ(launches[0].shared_bytes, 1024u);
  EXPECT_FALSE(launches[0].cooperative || launches[0].programmatic);
  const auto value = launches[0].parameter<Params>(0);
  EXPECT_EQ(value.a, 1u);
  EXPECT_EQ(value.c, 3u);
  EXPECT_EQ(launches[0].parameter<uint64_t>(1), 0u) << "no pointer wins over the value";
  EXPECT_EQ(launches[0].parameter<uint64_t>(2), address(x) + 12);
  EXPECT_EQ(launches[0].parameter<uint64_t>(3), uint64_t{6} << 32 | 5);
  EXPECT_EQ(launches[0].parameter<uint64_t>(4), address(out));

  EXPECT_EQ(launches[1].parameter<Params>(0).b, 0u);
  EXPECT_EQ(launches[1].parameter<uint64_t>(1), address(params));
  EXPECT_EQ(launches[1].parameter<uint64_t>(2), address(x));
  EXPECT_TRUE(launches[1].cooperative);
  EXPECT_EQ(fake::nvrtc().compiled, 1) << "one compilation serves all uses";
}

// Any argument may come in either form, not only slot 0.
TEST_F(CudaBackendTest, ArgumentsInEitherForm) {
  const Device device = Device::cuda(fake::options());
  const KernelDef kernel{.name = "either", .cuda = code("either", "12 8 4 8 8")};
  const Buffer x = device.buffer(DType::kF32, {64}), position = device.buffer(DType::kU32, {1});
  CommandEncoder encoder(device);
  const uint32_t value = 77;
  encoder.dispatch(&kernel, {bytes(Params{}), params_arg(value, Buffer()), writes(x)}, {});
  encoder.dispatch(&kernel, {bytes(Params{}), params_arg(value, position), writes(x)}, {});
  encoder.commit_and_wait();
  const std::vector<fake::Launch>& launches = fake::driver().launches;
  ASSERT_EQ(launches.size(), 2u);
  EXPECT_EQ(launches[0].parameter<uint32_t>(2), 77u);
  EXPECT_EQ(launches[0].parameter<uint64_t>(3), 0u);
  EXPECT_EQ(launches[1].parameter<uint32_t>(2), 0u);
  EXPECT_EQ(launches[1].parameter<uint64_t>(3), cuda::address_of(position));
  for (const fake::Launch& launch : launches)
    EXPECT_EQ(launch.parameter<uint64_t>(4), cuda::address_of(x));
}

TEST_F(CudaBackendTest, ArgumentsMustFitTheKernel) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  const auto run = [&](std::initializer_list<KernelArg> args) {
    encoder.dispatch(&kCopy, args, {});
    encoder.commit_and_wait();
  };
  const uint32_t word = 0;
  fails(ErrorKind::kInvalidArgument, "copy_f32: argument 0: the kernel takes 12 bytes, got 4", [&] {
    run({bytes(word), reads(x)});
  });
  fails(ErrorKind::kInvalidArgument, "copy_f32: argument 1: the kernel takes 8 bytes, got 4", [&] {
    run({bytes(Params{}), bytes(word)});
  });
  fails(ErrorKind::kInvalidArgument, "copy_f32: the kernel has 3 parameters, 3 arguments make 4",
        [&] {
          run({bytes(Params{}), reads(x), reads(x)});
        });
  run({bytes(Params{}), reads(x)});
  EXPECT_EQ(fake::driver().launches.size(), 1u);
}

TEST_F(CudaBackendTest, ADriverThatTellsNoSizesIsBelieved) {
  fake::driver().has_parameter_info = false;
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  encoder.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {});
  encoder.commit_and_wait();
  EXPECT_EQ(fake::driver().launches.size(), 1u);
}

TEST_F(CudaBackendTest, LargeSharedMemoryIsAskedFor) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  for (const uint32_t bytes_wanted : {48u << 10, 100u << 10, 90u << 10, 110u << 10})
    encoder.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {.shared_bytes = bytes_wanted});
  encoder.commit_and_wait();
  EXPECT_THAT(fake::driver().shared_limits, ElementsAre("copy: 102400", "copy: 112640"));
  fails(ErrorKind::kCommandFailed, "kernel 'copy_f32': 240000 bytes of shared memory", [&] {
    encoder.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {.shared_bytes = 240000});
    encoder.commit_and_wait();
  });
}

TEST_F(CudaBackendTest, KernelsOfOneSourceShareAModule) {
  const Device device = Device::cuda(fake::options());
  const std::string source = "//fake one 12 8 8\n//fake two 12 8 8\n";
  const auto def = [&](const char* entry, std::vector<KernelConstant> constants) {
    return KernelDef{.name = entry,
                     .cuda = {.source = source, .entry = entry, .constants = std::move(constants)}};
  };
  const KernelDef one = def("one", {}), two = def("two", {}), variant = def("two", {{"WIDTH", 8}}),
                  missing = def("three", {});
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  const auto run = [&](const KernelDef& kernel) {
    encoder.dispatch(&kernel, {bytes(Params{}), reads(x)}, {});
    encoder.commit_and_wait();
  };
  run(one);
  run(two);
  EXPECT_EQ(fake::driver().modules_loaded, 1u);
  run(variant);
  run(one);
  EXPECT_EQ(fake::driver().modules_loaded, 2u);
  EXPECT_THAT(fake::nvrtc().options, ::testing::Contains("-DWIDTH=8"));
  EXPECT_THAT(fake::nvrtc().options, ::testing::Contains("--gpu-architecture=sm_90"));
  EXPECT_THAT(fake::nvrtc().source, HasSubstr("using uint32_t"));
  fails(ErrorKind::kCompilationFailed, "no extern \"C\" __global__ function 'three'",
        [&] { run(missing); });
  run(def("one", {{"DECANT_ARCH_SPECIFIC", 1}}));
  EXPECT_THAT(fake::nvrtc().options, ::testing::Contains("--gpu-architecture=sm_90a"));
}

// Tests define kernels on the stack: another may come to lie at the same address.
TEST_F(CudaBackendTest, AnotherKernelAtTheSameAddress) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  KernelDef kernel{.name = "k", .cuda = code("first", "12 8 8")};
  for (const char* entry : {"first", "second", "first"}) {
    kernel.cuda = code(entry, "12 8 8");
    encoder.dispatch(&kernel, {bytes(Params{}), reads(x)}, {});
    encoder.commit_and_wait();
    EXPECT_EQ(fake::driver().launches.back().kernel, entry);
  }
}

// --- Graphs

TEST_F(CudaBackendTest, AGraphIsCapturedOnceAndLaunchedOften) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64}), y = device.buffer(DType::kF32, {64});
  {
    Graph graph = Graph::capture(device, [&](CommandEncoder& e) {
      e.dispatch(&kCopy, {bytes(Params{1}), reads_writes(x)}, {.grid = {2}});
      e.dispatch(&kScale, {bytes(Params{2}), reads(x), bytes(uint64_t{9}), writes(y)},
                 {.grid = {132}, .group = {256}, .cluster = {4}, .programmatic = true});
      e.dispatch(&kCopy, {reads(y), reads_writes(x)}, {.grid = {3}});
    });
    ASSERT_EQ(fake::driver().graphs.size(), 1u);
    const fake::Graph& nodes = fake::driver().graphs[0];
    ASSERT_EQ(nodes.size(), 3u);
    EXPECT_EQ(nodes[0].kernel, "copy");
    EXPECT_FALSE(nodes[0].programmatic);
    EXPECT_EQ(nodes[1].kernel, "scale");
    EXPECT_TRUE(nodes[1].programmatic);
    EXPECT_THAT(nodes[1].cluster, ElementsAre(4, 1, 1));
    EXPECT_EQ(nodes[1].parameter<uint64_t>(3), 9u);
    EXPECT_FALSE(nodes[2].programmatic);
    EXPECT_EQ(nodes[2].parameter<uint64_t>(1), cuda::address_of(y));
    EXPECT_EQ(fake::driver().launches.size(), 0u) << "capturing runs nothing";
    EXPECT_EQ(fake::driver().alive.graphs, 0) << "only the executable is kept";

    for (int i = 0; i < 3; ++i) graph.replay();
    graph.wait();
    graph.replay_and_wait();
    EXPECT_EQ(fake::driver().graph_launches, 4u);
    EXPECT_EQ(fake::driver().launches.size(), 12u);
    EXPECT_EQ(fake::driver().alive.events, 1) << "the runs of a graph share an event";

    fake::driver().busy = true;
    graph.replay();
    EXPECT_FALSE(graph.done());
    fake::driver().busy = false;
    EXPECT_TRUE(graph.done());
    graph.replay();  // the destructor waits
  }
  EXPECT_EQ(fake::driver().alive.executables, 0);
}

TEST_F(CudaBackendTest, AnEmptyGraph) {
  const Device device = Device::cuda(fake::options());
  Graph graph = Graph::capture(device, [](CommandEncoder&) {});
  graph.replay_and_wait();
  EXPECT_EQ(fake::driver().graph_launches, 0u);
}

TEST_F(CudaBackendTest, LargeClustersAreAllowedExplicitly) {
  const Device device = Device::cuda(fake::options());
  const Buffer x = device.buffer(DType::kF32, {64});
  CommandEncoder encoder(device);
  for (const uint32_t blocks : {8u, 16u, 16u})
    encoder.dispatch(&kCopy, {bytes(Params{}), reads(x)}, {.grid = {16}, .cluster = {blocks}});
  encoder.commit_and_wait();
  EXPECT_THAT(fake::driver().shared_limits, ElementsAre("copy: 1"));
}

// A kernel publishes what the host reads while later runs are under way.
TEST_F(CudaBackendTest, TheHostReadsBehindTheDevice) {
  const Device device = Device::cuda(fake::options());
  const Buffer log = device.buffer(DType::kU32, {4}, Usage::kHostVisible);
  EXPECT_NE(log.host(), nullptr);
  EXPECT_EQ(log.load<uint32_t>(3), 0u);
  uint32_t runs = 0;
  fake::driver().run = [&](const fake::Launch& launch) {
    reinterpret_cast<uint32_t*>(launch.parameter<uint64_t>(2))[runs] = 100 + runs;
    ++runs;
  };
  Graph graph = Graph::capture(device, [&](CommandEncoder& e) {
    e.dispatch(&kCopy, {bytes(Params{}), reads_writes(log)}, {});
  });
  fake::driver().busy = true;
  graph.replay();
  graph.replay();
  EXPECT_FALSE(graph.done());
  EXPECT_EQ(log.load<uint32_t>(1), 101u);
  fake::driver().busy = false;
  graph.wait();
  EXPECT_THROW((void)log.load<uint32_t>(4), Error);
  EXPECT_THROW((void)log.load<uint64_t>(0), Error);
  const Buffer plain = device.buffer(DType::kU32, {4});
  EXPECT_THROW((void)plain.load<uint32_t>(0), Error);
}

TEST_F(CudaBackendTest, EncodersOfManyThreads) {
  const Device device = Device::cuda(fake::options());
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      const Buffer x = device.buffer(DType::kF32, {64});
      CommandEncoder encoder(device);
      for (int i = 0; i < 50; ++i) {
        const KernelDef& kernel = i % 2 ? kCopy : kScale;
        if (i % 2)
          encoder.dispatch(&kernel, {bytes(Params{}), reads(x)}, {});
        else
          encoder.dispatch(&kernel, {bytes(Params{}), reads(x), bytes(uint64_t{}), writes(x)}, {});
        encoder.commit_and_wait();
        if (i % 10 == 0) {
          Graph graph = Graph::capture(device, [&](CommandEncoder& e) {
            e.dispatch(&kCopy, {reads(x), reads(x)}, {});
          });
          graph.replay_and_wait();
        }
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fake::driver().launches.size(), 4u * 55);
  EXPECT_LE(fake::nvrtc().compiled, 2);
}

}  // namespace
}  // namespace decant
