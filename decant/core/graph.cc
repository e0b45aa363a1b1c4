#include "decant/core/graph.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "decant/core/error.h"

namespace decant {
namespace {

bool covers(const Buffer& outer, const Buffer& inner) {
  return outer.storage() == inner.storage() && outer.byte_offset() <= inner.byte_offset() &&
         outer.byte_offset() + outer.byte_len() >= inner.byte_offset() + inner.byte_len();
}

bool same_range(const Buffer& a, const Buffer& b) { return covers(a, b) && covers(b, a); }

// The only dispatch that `a` may be fused with: the first after it that touches what `a` touches,
// one of the two writing. All between are independent of `a`, which can therefore move down to it;
// past it `a` cannot move.
std::optional<size_t> partner(const CommandList& list, size_t a) {
  if (list.dispatches[a].kind == OpKind::kSdpa) return std::nullopt;
  const std::span<const RecordedArg> args = list.args_of(list.dispatches[a]);
  for (size_t b = a + 1; b < list.dispatches.size(); ++b) {
    if (list.dispatches[b].kind == OpKind::kSdpa) return std::nullopt;
    if (conflicts(args, list.args_of(list.dispatches[b]))) return b;
  }
  return std::nullopt;
}

// True if, after dispatch `from`, nobody reads `range` before it is wholly written again. Scratch
// means nothing before the first write of a replay, so the end of the list ends the search.
bool dead_after(const CommandList& list, size_t from, const Buffer& range) {
  for (size_t i = from + 1; i < list.dispatches.size(); ++i) {
    bool rewritten = false;
    for (const RecordedArg& arg : list.args_of(list.dispatches[i])) {
      if (arg.is_bytes() || !arg.buffer.overlaps(range)) continue;
      if (arg.reads()) return false;
      rewritten |= covers(arg.buffer, range);
    }
    if (rewritten) return true;
  }
  return true;
}

// Whether `rule` may make one dispatch, at b's place, of `a` and its partner `b`.
bool may_fuse(const CommandList& list, size_t a, size_t b, const FusionRule& rule) {
  const std::span<const RecordedArg> first = list.args_of(list.dispatches[a]);
  const std::span<const RecordedArg> second = list.args_of(list.dispatches[b]);
  if (rule.first_output >= first.size() || rule.second_input >= second.size()) return false;
  const RecordedArg& made = first[rule.first_output];
  const RecordedArg& used = second[rule.second_input];
  if (made.is_bytes() || used.is_bytes() || !made.writes() || used.writes()) return false;
  if (!same_range(made.buffer, used.buffer)) return false;

  // Apart from the intermediate, the two must be independent of each other: one kernel would read
  // and write the same bytes in an order that the rule knows nothing of. The one exception is a
  // result that takes the place of an intermediate which the fused kernel does not write.
  bool replaced = false;
  for (size_t i = 0; i < first.size(); ++i)
    for (size_t j = 0; j < second.size(); ++j) {
      if (i == rule.first_output && j == rule.second_input) continue;
      if (!conflicts(first[i], second[j])) continue;
      if (!rule.drops_intermediate || i != rule.first_output ||
          second[j].access != Access::kWrite || !same_range(made.buffer, second[j].buffer))
        return false;
      replaced = true;
    }
  if (!rule.drops_intermediate) return true;
  if (made.access != Access::kWrite) return false;
  return replaced ||
         (made.buffer.storage()->usage == Usage::kScratch && dead_after(list, b, made.buffer));
}

// Replaces dispatch b by what the rule records for a and b, and drops a. False if the rule
// declines.
bool replace_pair(const Device& device, CommandList& list, size_t a, size_t b,
                  const FusionRule& rule) {
  CommandEncoder recorder(device);
  if (!rule.fuse(DispatchView(list, list.dispatches[a]), DispatchView(list, list.dispatches[b]),
                 recorder))
    return false;
  const CommandList& recorded = recorder.commands();
  require(recorded.dispatches.size() == 1, "fusion rule '{}' must record one dispatch, got {}",
          rule.name, recorded.dispatches.size());
  CommandList replaced;
  for (size_t i = 0; i < list.dispatches.size(); ++i) {
    if (i == b)
      replaced.append(recorded, recorded.dispatches[0]);
    else if (i != a)
      replaced.append(list, list.dispatches[i]);
  }
  list = std::move(replaced);
  return true;
}

}  // namespace

CommandList fuse(const Device& device, CommandList list, GraphNotes& notes) {
  const std::vector<const FusionRule*> rules = device.registry().fusions();
  // Where each dispatch, or the second of the pair that it was made of, stood when captured.
  std::vector<size_t> origin(list.dispatches.size());
  std::iota(origin.begin(), origin.end(), size_t{0});

  const auto fuse_from = [&](size_t a) {
    const std::optional<size_t> b = partner(list, a);
    if (!b) return false;
    for (const FusionRule* rule : rules) {
      if (rule->first != list.dispatches[a].kernel->name ||
          rule->second != list.dispatches[*b].kernel->name || !may_fuse(list, a, *b, *rule) ||
          !replace_pair(device, list, a, *b, *rule))
        continue;
      notes.fused.push_back(fmt::format("{}: {} and {}", rule->name, origin[a], origin[*b]));
      origin.erase(origin.begin() + static_cast<std::ptrdiff_t>(a));
      return true;
    }
    return false;
  };
  // A fused dispatch may be half of another pair, with one before it too: start again.
  for (size_t a = 0; a < list.dispatches.size();) a = fuse_from(a) ? 0 : a + 1;
  return list;
}

CommandList reorder(CommandList list, GraphNotes& notes) {
  // A dispatch's level is the number of barriers that must stand before it: one more than the
  // highest level of those before it that it conflicts with, or 0. An SDPA dispatch keeps its
  // place: nothing before it has a higher level and nothing after it a lower one. Sorting by level
  // keeps every conflicting pair in order and needs no more barriers than there are levels.
  const size_t n = list.dispatches.size();
  std::vector<size_t> level(n, 0), order(n);
  size_t last_sdpa = 0, highest = 0;  // levels
  for (size_t i = 0; i < n; ++i) {
    level[i] = last_sdpa;
    for (size_t j = 0; j < i; ++j)
      if (level[j] >= level[i] &&
          conflicts(list.args_of(list.dispatches[i]), list.args_of(list.dispatches[j])))
        level[i] = level[j] + 1;
    highest = std::max(highest, level[i]);
    if (list.dispatches[i].kind == OpKind::kSdpa) last_sdpa = level[i] = highest;
  }
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t x, size_t y) { return level[x] < level[y]; });
  CommandList sorted;
  for (size_t i = 0; i < n; ++i) {
    notes.moved += order[i] != i;
    sorted.append(list, list.dispatches[order[i]]);
  }
  return sorted;
}

void place_barriers(CommandList& list) {
  RangeTracker tracker;
  for (Dispatch& dispatch : list.dispatches)
    dispatch.barrier_before = tracker.touch(list.args_of(dispatch));
}

Graph Graph::capture(const Device& device, const std::function<void(CommandEncoder&)>& record,
                     const GraphOptions& options) {
  CommandEncoder encoder(device);
  encoder.capturing_ = true;
  record(encoder);

  CommandList list = std::move(encoder.list_);
  GraphNotes notes;
  const size_t captured = list.dispatches.size(), captured_barriers = list.barriers();
  if (options.fuse) list = fuse(device, std::move(list), notes);
  if (options.reorder) list = reorder(std::move(list), notes);
  place_barriers(list);

  Graph graph;
  graph.dispatches_ = list.dispatches.size();
  graph.barriers_ = list.barriers();
  std::string text =
      fmt::format("captured: {} dispatches, {} barriers\n", captured, captured_barriers);
  text += fmt::format("fused: {} pairs\n", notes.fused.size());
  for (const std::string& pair : notes.fused) text += "  " + pair + "\n";
  text += fmt::format("moved: {} dispatches\n", notes.moved);
  text += fmt::format("runs: {} dispatches, {} barriers\n", graph.dispatches_, graph.barriers_);
  for (const Dispatch& d : list.dispatches) {
    if (d.barrier_before) text += "  --\n";
    text += fmt::format("  {} [{}] {}x{}x{}\n", d.kernel->name, to_string(d.kind), d.launch.grid.x,
                        d.launch.grid.y, d.launch.grid.z);
  }
  graph.description_ = std::move(text);
  graph.run_ = std::make_unique<Run>(device, device.backend().prepare(std::move(list)));
  return graph;
}

Graph::Run::~Run() {
  if (!under_way) return;
  try {
    device.backend().wait(completion);
  } catch (const std::exception&) {
    // Whoever wanted to know would have called wait().
  }
}

void Graph::replay() {
  require(run_ != nullptr, "Graph::replay: the graph was moved from");
  if (!run_->under_way) run_->completion = {};
  run_->under_way = true;
  run_->executable->launch(run_->completion);
}

void Graph::wait() {
  if (!run_ || !run_->under_way) return;
  run_->under_way = false;
  run_->device.backend().wait(run_->completion);
}

bool Graph::done() {
  if (!run_ || !run_->under_way) return true;
  if (!run_->device.backend().done(run_->completion)) return false;
  wait();
  return true;
}

}  // namespace decant
