// What a Graph does as a whole; its passes are tested in graph_passes_test.cc.
#include "decant/core/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "decant/core/error.h"
#include "testing/graph_steps.h"

namespace decant {
namespace {

using testing::doubled;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::plus;
using testing::total;

class GraphTest : public ::testing::Test {
 protected:
  Buffer values(std::vector<uint32_t> content) {
    return device.upload<uint32_t>(content, DType::kU32, {content.size()});
  }
  Buffer scratch() { return device.buffer(DType::kU32, {2}, Usage::kScratch); }

  Device device = Device::cpu({.threads = 2});
};

TEST_F(GraphTest, CapturesWithoutRunningAndReplays) {
  const Buffer in = values({1, 2}), sum = values({0, 0});
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    total(encoder, {0, 100}, in, sum);
  });
  EXPECT_THAT(sum.span<uint32_t>(), ElementsAre(0, 0));
  graph.replay_and_wait();
  EXPECT_THAT(sum.span<uint32_t>(), ElementsAre(107, 114));
  in.span<uint32_t>()[0] = 11;  // buffers are read at replay, not at capture
  graph.replay_and_wait();
  EXPECT_THAT(sum.span<uint32_t>(), ElementsAre(107 + 177, 2 * 114));
}

// A kernel rewrites the params of the next one: each replay computes something else.
TEST_F(GraphTest, ParamsInABufferMoveFromReplayToReplay) {
  const Buffer params = device.buffer(DType::kU32, {2}), in = values({1, 2}), out = values({0, 0});
  const Buffer step = params.rows(1, 1);  // Step::addend
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    plus(encoder, {0, 10}, step, step, step);  // addend = 4 addend + 10
    doubled(encoder, {1, 999}, in, out, params);
  });
  EXPECT_EQ(graph.barriers(), 1u);
  for (const uint32_t addend : {10u, 50u, 210u}) {
    graph.replay_and_wait();
    EXPECT_THAT(out.span<uint32_t>(), ElementsAre(2 + addend, 4 + addend));
  }
}

TEST_F(GraphTest, RunsMayBeStartedBeforeTheLastIsOver) {
  const Buffer in = values({1}), sum = values({0});
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    total(encoder, {0, 0}, in, sum);
  });
  graph.wait();  // nothing under way
  EXPECT_TRUE(graph.done());
  graph.replay();
  graph.replay();
  graph.replay();
  graph.wait();
  EXPECT_EQ(sum.span<uint32_t>()[0], 21u);
  graph.replay_and_wait();
  graph.replay();
  while (!graph.done()) {
  }
  EXPECT_EQ(sum.span<uint32_t>()[0], 35u);
}

TEST_F(GraphTest, RunsAfterAFailedOneDoNothing) {
  device.registry().add({.name = "third", .cpu = [](const CpuGroup& group) {
                           if (++*group.arg<uint32_t>(0) == 3) throw std::runtime_error("third");
                         }});
  const Kernel third = device.registry().resolve("third");
  const Buffer runs = values({0});
  Graph graph = Graph::capture(
      device, [&](CommandEncoder& encoder) { encoder.dispatch(third, {reads_writes(runs)}, {}); });
  for (int i = 0; i < 5; ++i) graph.replay();
  EXPECT_THROW(graph.done(), Error);
  EXPECT_EQ(runs.span<uint32_t>()[0], 3u);
  EXPECT_TRUE(graph.done()) << "the failure was told";
  graph.replay_and_wait();
  EXPECT_EQ(runs.span<uint32_t>()[0], 4u);
}

TEST_F(GraphTest, OutlivesTheBuffersOfItsCaller) {
  const Buffer out = values({0, 0});
  std::weak_ptr<Storage> watched;
  {
    Graph graph = [&] {
      const Buffer in = values({3, 4}), between = scratch();
      watched = in.storage();
      return Graph::capture(device, [&](CommandEncoder& encoder) {
        doubled(encoder, {0, 0}, in, between);
        plus(encoder, {1, 0}, between, in, out);
      });
    }();
    graph.replay_and_wait();
    EXPECT_THAT(out.span<uint32_t>(), ElementsAre(6 + 9, 8 + 12));
    EXPECT_FALSE(watched.expired());
  }
  EXPECT_TRUE(watched.expired()) << "the graph is gone";
}

TEST_F(GraphTest, MovesAndReplaces) {
  const Buffer in = values({1}), sum = values({0});
  const auto record = [&](CommandEncoder& encoder) { total(encoder, {0, 0}, in, sum); };
  Graph graph = Graph::capture(device, record);
  graph.replay();
  Graph moved = std::move(graph);  // with the run under way
  moved.wait();
  moved.replay();
  moved = Graph::capture(device, record);  // waits for the run that it replaces
  moved.replay_and_wait();
  EXPECT_EQ(sum.span<uint32_t>()[0], 21u);
  EXPECT_THROW(graph.replay(), Error);  // NOLINT(bugprone-use-after-move): defined to throw
  graph.wait();
  graph = std::move(moved);
  graph.replay_and_wait();
  EXPECT_EQ(sum.span<uint32_t>()[0], 28u);
}

TEST_F(GraphTest, FailuresSurfaceAtWait) {
  device.registry().add({.name = "picky", .cpu = [](const CpuGroup& group) {
                           if (*group.arg<const uint32_t>(0) == 13)
                             throw std::runtime_error("13 is not welcome");
                         }});
  const Kernel picky = device.registry().resolve("picky");
  const Buffer in = values({13}), out = values({0});
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    encoder.dispatch(picky, {reads_writes(in)}, {});
    doubled(encoder, {0, 1}, in, out);
  });
  graph.replay();
  try {
    graph.wait();
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCommandFailed);
    EXPECT_STREQ(e.what(), "kernel 'picky' failed: 13 is not welcome");
  }
  EXPECT_EQ(out.span<uint32_t>()[0], 0u);
  in.span<uint32_t>()[0] = 14;
  graph.replay_and_wait();
  EXPECT_EQ(out.span<uint32_t>()[0], 29u);
}

TEST_F(GraphTest, CaptureErrors) {
  const Buffer in = values({1}), out = values({0});
  EXPECT_THROW(Graph::capture(device, [](CommandEncoder& encoder) { encoder.commit(); }), Error);
  EXPECT_THROW(Graph::capture(device,
                              [&](CommandEncoder& encoder) {
                                doubled(encoder, {}, in, out);
                                throw std::runtime_error("the caller's own");
                              }),
               std::runtime_error);
  EXPECT_EQ(out.span<uint32_t>()[0], 0u);
}

TEST_F(GraphTest, AnEmptyGraphRuns) {
  Graph graph = Graph::capture(device, [](CommandEncoder&) {});
  EXPECT_EQ(graph.dispatches(), 0u);
  graph.replay_and_wait();
}

TEST_F(GraphTest, DescribeTellsWhatWasDone) {
  const Buffer a = values({1, 2}), b = values({3, 4}), x = values({0, 0}), y = values({0, 0}),
               sum = values({0, 0}), between = scratch();
  const auto record = [&](CommandEncoder& encoder) {
    doubled(encoder, {0, 1}, a, between);  // 0, fused with 1
    plus(encoder, {1, 2}, between, b, x);  // 1
    encoder.memory_barrier();              // needed by nobody
    total(encoder, {2, 3}, b, sum);        // 2
    encoder.set_op_kind(OpKind::kSdpa);
    plus(encoder, {3, 4}, sum, a, y);  // 3 needs 2
  };
  Graph graph = Graph::capture(device, record);
  EXPECT_EQ(graph.dispatches(), 3u);
  EXPECT_EQ(graph.barriers(), 1u);
  EXPECT_EQ(graph.describe(),
            "captured: 4 dispatches, 3 barriers\n"
            "fused: 1 pairs\n"
            "  doubled+plus: 0 and 1\n"
            "moved: 0 dispatches\n"
            "runs: 3 dispatches, 1 barriers\n"
            "  doubled_plus [other] 1x1x1\n"
            "  total [other] 1x1x1\n"
            "  --\n"
            "  plus [sdpa] 1x1x1\n");

  const Graph plain = Graph::capture(device, record, {.fuse = false, .reorder = false});
  EXPECT_THAT(plain.describe(), HasSubstr("runs: 4 dispatches, 2 barriers"));
  EXPECT_THAT(plain.describe(), Not(HasSubstr("doubled_plus")));
}

// Forced barriers stay out of a replay where no access needs them.
TEST_F(GraphTest, RedundantBarriersGo) {
  const Buffer a = values({1}), x = values({0}), y = values({0}), z = values({0});
  Graph graph = Graph::capture(device, [&](CommandEncoder& encoder) {
    doubled(encoder, {0, 1}, a, x);
    encoder.memory_barrier();
    doubled(encoder, {1, 2}, a, y);
    encoder.memory_barrier();
    plus(encoder, {2, 3}, x, y, z);  // needs one
  });
  EXPECT_THAT(graph.describe(), HasSubstr("captured: 3 dispatches, 2 barriers"));
  EXPECT_EQ(graph.barriers(), 1u);
  graph.replay_and_wait();
  EXPECT_EQ(z.span<uint32_t>()[0], 3 + 3 * 4 + 3u);
}

}  // namespace
}  // namespace decant
