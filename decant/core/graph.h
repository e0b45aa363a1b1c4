// A captured command list, optimised once and replayed many times.
#ifndef DECANT_CORE_GRAPH_H_
#define DECANT_CORE_GRAPH_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "decant/core/device.h"
#include "decant/core/encoder.h"

namespace decant {

struct GraphOptions {
  bool fuse = true;     // apply the registry's fusion rules
  bool reorder = true;  // move independent dispatches together so that fewer barriers are needed
};

// Values that change between replays live in buffers (DESIGN: params as Bytes or as a Buffer);
// Bytes arguments keep the value they had when captured.
//
// What optimising never does: move or fuse anything across an SDPA dispatch, reorder two dispatches
// that touch a common byte of which one writes, or skip writing a buffer that is not
// Usage::kScratch.
class Graph {
 public:
  // Runs `record` with an encoder whose dispatches are kept instead of run.
  static Graph capture(const Device& device, const std::function<void(CommandEncoder&)>& record,
                       const GraphOptions& options = {});

  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;
  ~Graph();

  // Starts one run; at most one may be under way. wait() throws what it failed with.
  void replay();
  void wait();
  void replay_and_wait() {
    replay();
    wait();
  }

  // What was captured, what was fused, moved and removed, and the dispatches as they run.
  const std::string& describe() const { return description_; }
  size_t dispatches() const { return dispatches_; }
  size_t barriers() const { return barriers_; }

 private:
  explicit Graph(Device device) : device_(std::move(device)) {}

  Device device_;
  std::unique_ptr<Executable> executable_;
  std::unique_ptr<Completion> completion_;
  bool running_ = false;
  std::string description_;
  size_t dispatches_ = 0;
  size_t barriers_ = 0;
};

// The passes, each a function of a list, so that they can be tested alone.
struct GraphNotes {
  std::vector<std::string> fused;  // "rms_norm+mul: 3 and 4"
  size_t moved = 0;                // dispatches that changed places
  size_t barriers_removed = 0;
};
CommandList fuse(const Device& device, CommandList list, GraphNotes& notes);
CommandList reorder(CommandList list, GraphNotes& notes);
// Places barriers anew: exactly where the tracker needs them.
void place_barriers(CommandList& list, GraphNotes& notes);

}  // namespace decant

#endif  // DECANT_CORE_GRAPH_H_
