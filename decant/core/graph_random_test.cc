// Thousands of small random programs: whatever the passes do, a replay leaves the bits of eager
// execution, every conflicting pair stays in order, and barriers stand where they must.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "decant/core/graph.h"
#include "testing/graph_steps.h"

namespace decant {
namespace {

using testing::Step;
using testing::StepPair;

constexpr size_t kBuffers = 4, kElements = 12;

struct Slice {
  size_t buffer, first, count;
};

struct Instruction {
  enum class Kind { kDoubled, kPlus, kTotal } kind;
  bool sdpa, barrier_before;
  uint32_t addend;
  Slice in, other, out;
};

bool disjoint(const Slice& x, const Slice& y) {
  return x.buffer != y.buffer || x.first + x.count <= y.first || y.first + y.count <= x.first;
}
bool same(const Slice& x, const Slice& y) {
  return x.buffer == y.buffer && x.first == y.first && x.count == y.count;
}

// What an instruction does to each element, told without the library's help.
struct Touched {
  std::array<std::array<bool, kElements>, kBuffers> read{}, written{};
  Touched(const Instruction& i) {  // NOLINT(google-explicit-constructor)
    mark(read, i.in);
    if (i.kind == Instruction::Kind::kPlus) mark(read, i.other);
    if (i.kind == Instruction::Kind::kTotal) mark(read, i.out);
    mark(written, i.out);
  }
  static void mark(std::array<std::array<bool, kElements>, kBuffers>& set, const Slice& s) {
    for (size_t e = s.first; e < s.first + s.count; ++e) set[s.buffer][e] = true;
  }
  void forget_read(const Slice& s) {
    for (size_t e = s.first; e < s.first + s.count; ++e) read[s.buffer][e] = false;
  }
  bool conflicts(const Touched& later) const {
    for (size_t b = 0; b < kBuffers; ++b)
      for (size_t e = 0; e < kElements; ++e)
        if ((written[b][e] && (later.read[b][e] || later.written[b][e])) ||
            (read[b][e] && later.written[b][e]))
          return true;
    return false;
  }
};

class RandomProgram {
 public:
  explicit RandomProgram(uint64_t seed) : random_(seed) {
    const size_t length = 2 + pick(12);
    while (instructions.size() < length) {
      Instruction i{};
      i.kind = static_cast<Instruction::Kind>(pick(3));
      i.sdpa = pick(8) == 0;
      i.barrier_before = pick(8) == 0;
      i.addend = static_cast<uint32_t>(random_());
      i.in = slice();
      i.other = slice();
      i.out = slice();
      if (!instructions.empty() && pick(3) == 0) {  // the makings of a fusion
        i.kind = Kind::kPlus;
        i.in = instructions.back().out;
        i.out = {pick(kBuffers), pick(kElements - i.in.count + 1), i.in.count};
      }
      // What ops demand of their arguments: an output is an input itself or apart from it.
      const auto fits = [&](const Slice& input) {
        return disjoint(input, i.out) || (same(input, i.out) && i.kind != Kind::kTotal);
      };
      if (fits(i.in) && (i.kind != Kind::kPlus || fits(i.other))) instructions.push_back(i);
    }
  }

  void record(CommandEncoder& encoder, std::span<const Buffer> buffers) const {
    const auto view = [&](const Slice& s) {
      return buffers[s.buffer].slice(s.first * 4, {s.count});
    };
    for (size_t id = 0; id < instructions.size(); ++id) {
      const Instruction& i = instructions[id];
      const Step step{static_cast<uint32_t>(id), i.addend};
      if (i.barrier_before) encoder.memory_barrier();
      if (i.sdpa) encoder.set_op_kind(OpKind::kSdpa);
      if (i.kind == Kind::kDoubled)
        testing::doubled(encoder, step, view(i.in), view(i.out));
      else if (i.kind == Kind::kPlus)
        testing::plus(encoder, step, view(i.in), view(i.other), view(i.out));
      else
        testing::total(encoder, step, view(i.in), view(i.out));
    }
  }

  std::vector<Instruction> instructions;

 private:
  using Kind = Instruction::Kind;
  // Not std::uniform_int_distribution, which differs between standard libraries.
  size_t pick(size_t count) { return random_() % count; }
  Slice slice() {
    // Slices that repeat, or there would hardly be a pair to fuse.
    if (!recent_.empty() && pick(2) == 0) return recent_[pick(recent_.size())];
    const size_t first = pick(kElements - 1), count = 1 + pick(kElements - first);
    recent_.push_back({pick(kBuffers), first, count});
    return recent_.back();
  }

  std::mt19937_64 random_;
  std::vector<Slice> recent_;
};

// Instructions that each dispatch of a list carries out.
std::vector<std::vector<uint32_t>> ids_of(const CommandList& list) {
  std::vector<std::vector<uint32_t>> ids;
  for (const Dispatch& dispatch : list.dispatches) {
    const DispatchView view(list, dispatch);
    if (const auto* pair = view.bytes<StepPair>(0))
      ids.push_back({pair->first.id, pair->second.id});
    else
      ids.push_back({view.bytes<Step>(0)->id});
  }
  return ids;
}

class GraphRandom : public ::testing::Test {
 protected:
  GraphRandom() {
    for (size_t i = 0; i < kBuffers; ++i)  // one half is scratch
      buffers.push_back(
          device.buffer(DType::kU32, {kElements}, i % 2 ? Usage::kScratch : Usage::kNormal));
  }
  void reset() {
    uint32_t value = 1;
    for (const Buffer& buffer : buffers)
      for (uint32_t& v : buffer.span<uint32_t>()) v = value = value * 2654435761u + 1;
  }
  // Of what a graph may not skip.
  std::vector<uint32_t> content() const {
    std::vector<uint32_t> all;
    for (const Buffer& buffer : buffers)
      if (buffer.storage()->usage == Usage::kNormal)
        for (const uint32_t v : buffer.span<uint32_t>()) all.push_back(v);
    return all;
  }

  Device device = Device::cpu({.threads = 1});
  std::vector<Buffer> buffers;
};

// Every instruction is there once; conflicting pairs are in order, with a barrier between them
// unless they were fused or conflict in an intermediate that is written no more; nothing passed an
// SDPA dispatch.
void check_order(const RandomProgram& program, const CommandList& list) {
  const size_t n = program.instructions.size();
  std::vector<size_t> place(n, SIZE_MAX), region(n);
  std::vector<Touched> touched(program.instructions.begin(), program.instructions.end());
  size_t barriers = 0, found = 0;
  const std::vector<std::vector<uint32_t>> ids = ids_of(list);
  for (size_t p = 0; p < ids.size(); ++p) {
    barriers += list.dispatches[p].barrier_before;
    for (const uint32_t id : ids[p]) {
      ASSERT_EQ(place[id], SIZE_MAX) << id << " runs twice";
      place[id] = p;
      region[id] = barriers;
      ++found;
    }
    if (list.dispatches[p].kernel->name == "doubled_plus") {
      touched[ids[p][0]].written = {};
      touched[ids[p][1]].forget_read(program.instructions[ids[p][1]].in);
    }
  }
  ASSERT_EQ(found, n);
  for (size_t x = 0; x < n; ++x)
    for (size_t y = x + 1; y < n; ++y) {
      const Instruction &first = program.instructions[x], &second = program.instructions[y];
      if (first.sdpa || second.sdpa) {
        ASSERT_LT(place[x], place[y]) << x << " and " << y << " around SDPA";
      }
      if (!touched[x].conflicts(touched[y])) continue;
      ASSERT_LE(place[x], place[y]) << x << " and " << y << " conflict";
      if (place[x] != place[y]) {
        ASSERT_LT(region[x], region[y]) << "no barrier between " << x << " and " << y;
      }
    }
}

TEST_F(GraphRandom, ReplayLeavesTheBitsOfEagerExecution) {
  std::map<std::string, size_t> fused;
  size_t moved = 0, saved_barriers = 0, programs = 0;
  for (uint64_t seed = 0; seed < 6000 && !HasFailure(); ++seed, ++programs) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    const RandomProgram program(seed);
    reset();
    CommandEncoder encoder(device);
    program.record(encoder, buffers);
    const CommandList recorded = encoder.commands();
    encoder.commit_and_wait();
    const std::vector<uint32_t> want = content();
    check_order(program, recorded);

    for (const GraphOptions options :
         {GraphOptions{}, GraphOptions{.reorder = false}, GraphOptions{.fuse = false}}) {
      Graph graph = Graph::capture(
          device, [&](CommandEncoder& e) { program.record(e, buffers); }, options);
      for (int replay = 0; replay < 2; ++replay) {
        reset();
        graph.replay_and_wait();
        ASSERT_EQ(content(), want) << graph.describe();
      }
    }

    GraphNotes notes;
    CommandList list = fuse(device, recorded, notes);
    CommandList unordered = list;
    list = reorder(std::move(list), notes);
    place_barriers(list);
    place_barriers(unordered);
    check_order(program, list);
    check_order(program, unordered);
    // Reordering is for fewer barriers, and never costs one.
    ASSERT_LE(list.barriers(), unordered.barriers());
    saved_barriers += unordered.barriers() - list.barriers();
    moved += notes.moved;
    for (const std::string& note : notes.fused) ++fused[note.substr(0, note.find(':'))];
  }
  // The programs were such that there was something to do.
  EXPECT_GT(fused["doubled+plus"], programs / 20);
  EXPECT_GT(fused["total+plus"], programs / 8);
  EXPECT_GT(moved, programs);
  EXPECT_GT(saved_barriers, programs / 10);
  for (const auto& [rule, times] : fused) RecordProperty(rule, static_cast<int>(times));
  RecordProperty("moved", static_cast<int>(moved));
  RecordProperty("saved_barriers", static_cast<int>(saved_barriers));
}

}  // namespace
}  // namespace decant
