// Dispatches that start early (NormMatVecArgs::next_early), in a graph, as a model's decoding does.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "decant/core/graph.h"
#include "decant/ops/mat_mul/mat_mul.h"
#include "decant/ops/norm_mat_vec/norm_mat_vec.h"
#include "testing/compare.h"
#include "testing/devices.h"
#include "testing/random_weights.h"

namespace decant {
namespace {

using testing::bits_equal;
using testing::for_each_device;
using testing::random_normal;
using testing::random_weights;

constexpr uint32_t kHidden = 640, kInner = 2048, kLayers = 6;

// The feed-forward blocks of a model, one after the other; x moves on with every replay.
struct Chain {
  Chain(const Device& device, bool next_early)
      : x(upload(device, 1)),
        other(device.buffer(DType::kF32, {kHidden})),
        proj(upload(device, 2)),
        act(device.buffer(DType::kF32, {kInner})),
        norm(upload(device, 3)),
        gate(weight(device, DType::kQ5_0, kInner, kHidden, 4)),
        up(weight(device, DType::kQ5_0, kInner, kHidden, 5)),
        down(weight(device, DType::kQ6_K, kHidden, kInner, 6)),
        graph(Graph::capture(device, [&](CommandEncoder& encoder) {
          Buffer from = x, to = other;
          for (uint32_t layer = 0; layer < kLayers; ++layer) {
            norm_mat_vec(encoder, {.x = from,
                                   .delta = proj,
                                   .delta_weight = norm,
                                   .x_out = to,
                                   .norm_weight = norm,
                                   .eps = 1e-6f,
                                   .weights = {gate, up},
                                   .outs = {act},
                                   .combine = Combine::kGeluMul,
                                   .later = {down},
                                   .next_early = next_early});
            mat_mul(encoder, {.weight = down,
                              .x = act.reshape({1, kInner}),
                              .out = proj.reshape({1, kHidden}),
                              .next_early = next_early && layer + 1 < kLayers});
            std::swap(from, to);
          }
        })) {}

  static Buffer upload(const Device& device, uint64_t seed) {
    return device.upload<float>(random_normal(kHidden, seed), DType::kF32, {kHidden});
  }
  static Buffer weight(const Device& device, DType dtype, uint32_t rows, uint32_t cols,
                       uint64_t seed) {
    Buffer made = device.buffer(dtype, {rows, cols});
    device.write(made, random_weights(dtype, size_t{rows} * cols, seed));
    return made;
  }

  Buffer x, other, proj, act, norm, gate, up, down;
  Graph graph;
};

TEST(NormMatVecChain, AnEarlyStartChangesNoBit) {
  static_assert(kLayers % 2 == 0, "x ends where it began");
  for_each_device([&](const Device& device) {
    Chain usual(device, false), early(device, true);
    const int replays = device.info().backend == BackendKind::kCuda ? 200 : 2;
    std::vector<float> last;
    for (int i = 0; i < replays; ++i) {
      usual.graph.replay();
      early.graph.replay();
      usual.graph.wait();
      early.graph.wait();
      const std::span<const float> x = usual.x.span<const float>();
      ASSERT_TRUE(last.empty() || !bits_equal(x, last)) << "the chain stands still";
      last.assign(x.begin(), x.end());
      ASSERT_TRUE(bits_equal(x, early.x.span<const float>())) << i;
      ASSERT_TRUE(bits_equal(usual.proj.span<const float>(), early.proj.span<const float>())) << i;
    }
  });
}

}  // namespace
}  // namespace decant
