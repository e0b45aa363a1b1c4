// The passes of Graph on lists made to trip them.
#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "decant/core/error.h"
#include "decant/core/graph.h"
#include "testing/graph_steps.h"

namespace decant {
namespace {

using testing::doubled;
using testing::plus;
using testing::steps;
using testing::total;

class GraphPasses : public ::testing::Test {
 protected:
  using Record = std::function<void(CommandEncoder&)>;

  static Buffer view(const Buffer& whole, size_t first, size_t count) {
    return whole.slice(first * 4, {count});
  }
  // The rules applied to what `record` records, as "doubled+plus: 0 and 1; ...".
  std::string fused(const Record& record) {
    CommandEncoder encoder(device);
    record(encoder);
    GraphNotes notes;
    fuse(device, encoder.commands(), notes);
    std::string text;
    for (const std::string& note : notes.fused) text += (text.empty() ? "" : "; ") + note;
    return text;
  }
  // The order of kernels and barriers after reorder and place_barriers.
  std::string reordered(const Record& record) {
    CommandEncoder encoder(device);
    record(encoder);
    GraphNotes notes;
    CommandList list = reorder(encoder.commands(), notes);
    place_barriers(list);
    std::string text;
    for (const Dispatch& dispatch : list.dispatches) {
      const auto* step = DispatchView(list, dispatch).bytes<testing::Step>(0);
      text += (dispatch.barrier_before ? "|" : "") + std::to_string(step->id);
    }
    return text;
  }

  Device device = Device::cpu({.threads = 1});
  Buffer a = device.buffer(DType::kU32, {8}), b = device.buffer(DType::kU32, {8}),
         c = device.buffer(DType::kU32, {8}), d = device.buffer(DType::kU32, {8}),
         normal = device.buffer(DType::kU32, {8}),
         t = device.buffer(DType::kU32, {8}, Usage::kScratch);
};

using Fuse = GraphPasses;

TEST_F(Fuse, APair) {
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
            }),
            "doubled+plus: 0 and 1");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              total(e, {}, a, normal);
              plus(e, {}, normal, b, c);
            }),
            "total+plus: 0 and 1");
}

TEST_F(Fuse, NotWhenAThirdOpReadsTheIntermediateLater) {
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
              doubled(e, {}, t, d);
            }),
            "");
  // A part of it, and far away, is enough.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
              doubled(e, {}, b, view(t, 0, 7));
              e.set_op_kind(OpKind::kSdpa);
              doubled(e, {}, view(t, 7, 1), d);
            }),
            "");
  // But an intermediate that is kept anyway may be read.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              total(e, {}, a, t);
              plus(e, {}, t, b, c);
              doubled(e, {}, t, d);
            }),
            "total+plus: 0 and 1");
}

TEST_F(Fuse, NotWhenAThirdOpReadsTheIntermediateInBetween) {
  for (const bool keeps : {false, true})
    EXPECT_EQ(fused([&](CommandEncoder& e) {
                (keeps ? total(e, {}, a, t) : doubled(e, {}, a, t));
                doubled(e, {}, view(t, 3, 1), d);
                plus(e, {}, t, b, c);
              }),
              "");
}

TEST_F(Fuse, AReaderBehindTheNextWriterDoesNotCount) {
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, t, d);  // nor does one before
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
              plus(e, {}, b, b, t);
              doubled(e, {}, t, d);
            }),
            "doubled+plus: 1 and 2");
  // A writer that reads it too, or adds to it, does.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
              plus(e, {}, b, t, t);
            }),
            "");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
              total(e, {}, b, t);
            }),
            "");
}

TEST_F(Fuse, NotWhenTheIntermediateIsNoScratch) {
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, normal);
              plus(e, {}, normal, b, c);
            }),
            "");
  // Unless the second step itself overwrites all of it.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, normal);
              plus(e, {}, normal, b, normal);
              doubled(e, {}, normal, d);
            }),
            "doubled+plus: 0 and 1");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, normal);
              plus(e, {}, normal, b, view(normal, 0, 7));
            }),
            "");
}

TEST_F(Fuse, NotWhenTheRangesDiffer) {
  const auto pair = [&](const Buffer& made, const Buffer& used) {
    return fused([&](CommandEncoder& e) {
      doubled(e, {}, view(a, 0, made.elements()), made);
      plus(e, {}, used, b, view(c, 0, made.elements()));
    });
  };
  EXPECT_EQ(pair(view(t, 2, 4), view(t, 2, 4)), "doubled+plus: 0 and 1");
  EXPECT_EQ(pair(view(t, 2, 4), view(t, 3, 4)), "");  // shifted
  EXPECT_EQ(pair(view(t, 2, 4), view(t, 2, 3)), "");  // a part
  EXPECT_EQ(pair(view(t, 2, 4), view(t, 1, 5)), "");  // more than was made
  EXPECT_EQ(pair(view(t, 0, 4), view(t, 4, 4)), "");  // a neighbour
}

TEST_F(Fuse, NotWhenTheFirstCannotMoveDown) {
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              doubled(e, {}, b, view(a, 7, 1));  // write after the first's read
              plus(e, {}, t, b, c);
            }),
            "");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              doubled(e, {}, b, view(t, 7, 1));  // write after its write
              plus(e, {}, t, b, c);
            }),
            "");
  // What only the second conflicts with stays before it.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              doubled(e, {}, a, b);
              doubled(e, {}, c, d);
              plus(e, {}, t, b, c);
            }),
            "doubled+plus: 0 and 3");
}

TEST_F(Fuse, NotWhenTheTwoConflictOtherwise) {
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, b, a);  // overwrites the first's input
            }),
            "");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t);
              plus(e, {}, t, t, c);  // reads the intermediate twice
            }),
            "");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              total(e, {}, a, t);
              plus(e, {}, t, b, t);  // overwrites what the fused kernel would keep
            }),
            "");
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, t, t);  // both in place: the second overwrites the first's input
              plus(e, {}, t, b, t);
            }),
            "");
}

TEST_F(Fuse, NeverAcrossOrWithSdpa) {
  for (const int sdpa : {0, 1, 2})
    EXPECT_EQ(fused([&](CommandEncoder& e) {
                const auto mark = [&](int i) {
                  if (i == sdpa) e.set_op_kind(OpKind::kSdpa);
                };
                mark(0);
                doubled(e, {}, a, t);
                mark(1);
                doubled(e, {}, b, d);  // touches nothing of the pair's
                mark(2);
                plus(e, {}, t, b, c);
              }),
              "")
        << sdpa;
}

TEST_F(Fuse, TheRightPartner) {
  // Others of the same name stand in between, one reading a neighbouring slice.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, view(a, 0, 4), view(t, 0, 4));
              plus(e, {}, a, b, c);
              plus(e, {}, view(t, 4, 4), b, d);
              plus(e, {}, view(t, 0, 4), b, view(normal, 0, 4));
            }),
            "doubled+plus: 0 and 3");
  // Two pairs, interleaved.
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, view(a, 0, 4), view(t, 0, 4));
              doubled(e, {}, view(a, 4, 4), view(t, 4, 4));
              plus(e, {}, view(t, 0, 4), b, view(c, 0, 4));
              plus(e, {}, view(t, 4, 4), b, view(c, 4, 4));
            }),
            "doubled+plus: 0 and 2; doubled+plus: 1 and 3");
}

TEST_F(Fuse, ParamsInABufferAreTheRulesBusiness) {
  const Buffer params = device.buffer(DType::kU32, {2});
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, a, t, params);
              plus(e, {}, t, b, c);
            }),
            "");
}

TEST_F(Fuse, AFusedDispatchMayBeHalfOfTheNextPair) {
  steps(device);
  // Makes total_plus of what doubled_plus made and a later total would be silly arithmetic; it is
  // the matching that counts: (doubled, plus), plus again in place.
  device.registry().add_fusion(
      {.name = "doubled_plus+plus",
       .first = "doubled_plus",
       .second = "plus",
       .first_output = 3,
       .second_input = 1,
       .fuse = [](const DispatchView& first, const DispatchView& second, CommandEncoder& out) {
         out.dispatch(
             &*second->kernel,
             {bytes(0), reads(first.buffer(1)), reads(second.buffer(2)), writes(second.buffer(3))},
             {});
         return true;
       }});
  EXPECT_EQ(fused([&](CommandEncoder& e) {
              doubled(e, {}, b, d);
              doubled(e, {}, a, t);
              plus(e, {}, t, b, c);
              plus(e, {}, c, b, normal);
            }),
            "doubled+plus: 1 and 2; doubled_plus+plus: 2 and 3");
}

TEST_F(Fuse, RulesThatAreWrong) {
  const auto record = [&](CommandEncoder& e) {
    total(e, {}, a, t);
    doubled(e, {}, t, c);
  };
  const auto two = [](const DispatchView& first, const DispatchView&, CommandEncoder& out) {
    for (int i = 0; i < 2; ++i) out.dispatch(first->kernel, {reads(first.buffer(1))}, {});
    return true;
  };
  steps(device);
  FusionRule rule{.name = "out of range",
                  .first = "total",
                  .second = "doubled",
                  .first_output = 9,
                  .second_input = 1,
                  .fuse = two};
  device.registry().add_fusion(rule);
  rule.first_output = 0;  // the params: no buffer
  device.registry().add_fusion(rule);
  rule.first_output = 1;  // an input
  device.registry().add_fusion(rule);
  EXPECT_EQ(fused(record), "");
  rule.name = "two";
  rule.first_output = 2;
  device.registry().add_fusion(rule);
  try {
    fused(record);
    ADD_FAILURE() << "a rule recorded two dispatches";
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "fusion rule 'two' must record one dispatch, got 2");
  }
}

using Reorder = GraphPasses;

TEST_F(Reorder, BringsIndependentChainsTogether) {
  EXPECT_EQ(reordered([&](CommandEncoder& e) {
              doubled(e, {0, 0}, a, b);
              doubled(e, {1, 0}, b, b);
              doubled(e, {2, 0}, c, d);
              doubled(e, {3, 0}, d, d);
            }),
            "02|13");
}

TEST_F(Reorder, KeepsEveryKindOfConflict) {
  EXPECT_EQ(reordered([&](CommandEncoder& e) {
              doubled(e, {0, 0}, a, b);
              doubled(e, {1, 0}, b, c);  // read after write
              doubled(e, {2, 0}, d, b);  // write after read
              doubled(e, {3, 0}, a, b);  // write after write
              doubled(e, {4, 0}, a, normal);
            }),
            "04|1|2|3");
  // Slices: 1 overlaps 0 by one element, 2 does not.
  EXPECT_EQ(reordered([&](CommandEncoder& e) {
              doubled(e, {0, 0}, a, view(b, 0, 4));
              doubled(e, {1, 0}, a, view(b, 3, 3));
              doubled(e, {2, 0}, a, view(c, 0, 4));
              doubled(e, {3, 0}, a, view(b, 6, 2));
            }),
            "023|1");
}

TEST_F(Reorder, NothingCrossesSdpa) {
  // 3 could run at once, but for the SDPA dispatch 2; and 0 and 1 may not pass it either.
  EXPECT_EQ(reordered([&](CommandEncoder& e) {
              doubled(e, {0, 0}, a, b);
              doubled(e, {1, 0}, b, b);
              e.set_op_kind(OpKind::kSdpa);
              doubled(e, {2, 0}, normal, normal);
              doubled(e, {3, 0}, c, d);
              doubled(e, {4, 0}, d, d);
            }),
            "0|123|4");
}

TEST_F(Reorder, BarriersAreNotMoved) {
  EXPECT_EQ(reordered([&](CommandEncoder& e) {
              doubled(e, {0, 0}, a, b);
              e.memory_barrier();
              doubled(e, {1, 0}, a, c);
              doubled(e, {2, 0}, b, d);
            }),
            "01|2");
}

}  // namespace
}  // namespace decant
