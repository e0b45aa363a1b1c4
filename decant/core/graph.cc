#include "decant/core/graph.h"

#include <algorithm>
#include <numeric>

#include "decant/core/error.h"

namespace decant {
namespace {

bool covers(const Buffer& outer, const Buffer& inner) {
  return outer.storage() == inner.storage() && outer.byte_offset() <= inner.byte_offset() &&
         outer.byte_offset() + outer.byte_len() >= inner.byte_offset() + inner.byte_len();
}

bool same_range(const Buffer& a, const Buffer& b) { return covers(a, b) && covers(b, a); }

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

// Whether the pair (a, b), a < b, may become one dispatch at b's place.
bool may_fuse(const CommandList& list, size_t a, size_t b, const FusionRule& rule) {
  const Dispatch& first = list.dispatches[a];
  const Dispatch& second = list.dispatches[b];
  if (first.kind == OpKind::kSdpa || second.kind == OpKind::kSdpa) return false;
  if (rule.first_output >= first.num_args || rule.second_input >= second.num_args) return false;

  const std::span<const RecordedArg> first_args = list.args_of(first);
  const std::span<const RecordedArg> second_args = list.args_of(second);
  const RecordedArg& made = first_args[rule.first_output];
  const RecordedArg& used = second_args[rule.second_input];
  if (made.is_bytes() || used.is_bytes() || !made.writes() || used.writes()) return false;
  if (!same_range(made.buffer, used.buffer)) return false;

  // The first dispatch moves down to the second, so nothing between may conflict with it.
  for (size_t i = a + 1; i < b; ++i) {
    if (list.dispatches[i].kind == OpKind::kSdpa) return false;
    if (conflicts(list.args_of(list.dispatches[i]), first_args)) return false;
  }
  // Apart from the intermediate, the two must be independent of each other: one kernel would read
  // and write the same bytes in an order that the rule knows nothing of.
  for (size_t i = 0; i < first_args.size(); ++i)
    for (size_t j = 0; j < second_args.size(); ++j) {
      if (i == rule.first_output && j == rule.second_input) continue;
      if (conflicts(first_args[i], second_args[j])) return false;
    }
  if (!rule.drops_intermediate) return true;
  return made.access == Access::kWrite && made.buffer.storage()->usage == Usage::kScratch &&
         dead_after(list, b, made.buffer);
}

}  // namespace

CommandList fuse(const Device& device, CommandList list, GraphNotes& notes) {
  const std::vector<const FusionRule*> rules = device.registry().fusions();
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t a = 0; a < list.dispatches.size() && !changed; ++a) {
      for (const FusionRule* rule : rules) {
        if (rule->first != list.dispatches[a].kernel->name) continue;
        // The first dispatch after `a` that touches what `a` made is the only candidate.
        size_t b = a + 1;
        while (b < list.dispatches.size() && list.dispatches[b].kernel->name != rule->second) ++b;
        if (b == list.dispatches.size() || !may_fuse(list, a, b, *rule)) continue;

        CommandEncoder scratch(device);
        if (!rule->fuse(DispatchView(list, list.dispatches[a]),
                        DispatchView(list, list.dispatches[b]), scratch))
          continue;
        require(scratch.commands().dispatches.size() == 1,
                "fusion rule '{}' must record one dispatch, got {}", rule->name,
                scratch.commands().dispatches.size());
        CommandList fused;
        for (size_t i = 0; i < list.dispatches.size(); ++i) {
          if (i == a) continue;
          if (i == b)
            fused.append(scratch.commands(), scratch.commands().dispatches[0]);
          else
            fused.append(list, list.dispatches[i]);
        }
        notes.fused.push_back(fmt::format("{}: {} and {}", rule->name, a, b));
        list = std::move(fused);
        changed = true;
        break;
      }
    }
  }
  return list;
}

CommandList reorder(CommandList list, GraphNotes& notes) {
  // Between two SDPA dispatches, a dispatch's level is one more than the highest level of those
  // before it that it conflicts with. Sorting by level keeps every conflicting pair in order and
  // brings the independent ones together.
  const size_t n = list.dispatches.size();
  std::vector<size_t> level(n, 0), order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t begin = 0; begin < n;) {
    size_t end = begin;
    while (end < n && list.dispatches[end].kind != OpKind::kSdpa) ++end;
    for (size_t i = begin; i < end; ++i)
      for (size_t j = begin; j < i; ++j)
        if (level[j] >= level[i] &&
            conflicts(list.args_of(list.dispatches[i]), list.args_of(list.dispatches[j])))
          level[i] = level[j] + 1;
    std::stable_sort(order.begin() + static_cast<std::ptrdiff_t>(begin),
                     order.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](size_t x, size_t y) { return level[x] < level[y]; });
    begin = end + 1;
  }
  CommandList sorted;
  for (size_t i = 0; i < n; ++i) {
    notes.moved += order[i] != i;
    sorted.append(list, list.dispatches[order[i]]);
  }
  return sorted;
}

void place_barriers(CommandList& list, GraphNotes& notes) {
  const size_t before = list.barriers();
  RangeTracker tracker;
  for (Dispatch& dispatch : list.dispatches)
    dispatch.barrier_before = tracker.touch(list.args_of(dispatch));
  const size_t after = list.barriers();
  notes.barriers_removed += before > after ? before - after : 0;
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
  place_barriers(list, notes);

  Graph graph(device);
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
  graph.executable_ = device.backend().prepare(std::move(list));
  graph.completion_ = std::make_unique<Completion>();
  return graph;
}

Graph::~Graph() {
  if (!executable_ || !running_) return;
  try {
    wait();
  } catch (const std::exception&) {
    // Whoever wanted to know would have called wait().
  }
}

void Graph::replay() {
  require(!running_, "Graph::replay: the last replay was not waited for");
  *completion_ = {};
  running_ = true;
  executable_->launch(*completion_);
}

void Graph::wait() {
  if (!running_) return;
  running_ = false;
  device_.backend().wait(*completion_);
}

}  // namespace decant
