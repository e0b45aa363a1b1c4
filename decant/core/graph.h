// A captured command list, optimised once and replayed many times.
#ifndef DECANT_CORE_GRAPH_H_
#define DECANT_CORE_GRAPH_H_

#include <functional>
#include <memory>
#include <string>
#include <utility>
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
// Usage::kScratch (but for one that the next step overwrites whole). What it removes: barriers that
// no declared access needs, forced ones included.
class Graph {
 public:
  // Runs `record` with an encoder whose dispatches are kept instead of run.
  static Graph capture(const Device& device, const std::function<void(CommandEncoder&)>& record,
                       const GraphOptions& options = {});

  // Destroying a graph, or assigning over it, waits for the run under way.
  Graph(Graph&& other) noexcept = default;
  Graph& operator=(Graph&& other) noexcept = default;

  // Starts one run after those under way; there may be many (the host may then be ahead of an
  // asynchronous device, see DeviceInfo, and reads results behind it with Buffer::load). wait()
  // waits for all of them and throws what the first that failed did; runs after it do nothing.
  void replay();
  void wait();
  // Whether no run is under way; never blocks. Throws as wait() does.
  bool done();
  void replay_and_wait() {
    replay();
    wait();
  }

  // What was captured, what was fused, moved and removed, and the dispatches as they run.
  const std::string& describe() const { return description_; }
  size_t dispatches() const { return dispatches_; }
  size_t barriers() const { return barriers_; }

 private:
  Graph() = default;

  struct Run {
    Run(Device d, std::unique_ptr<Executable> e) : device(std::move(d)), executable(std::move(e)) {}
    ~Run();
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    Device device;
    std::unique_ptr<Executable> executable;
    Completion completion;
    bool under_way = false;
  };
  std::unique_ptr<Run> run_;
  std::string description_;
  size_t dispatches_ = 0;
  size_t barriers_ = 0;
};

// The passes, each a function of a list, so that they can be tested alone.
struct GraphNotes {
  std::vector<std::string> fused;  // "rms_norm+mul: 3 and 4": places in the list as captured
  size_t moved = 0;                // dispatches that changed places
};
CommandList fuse(const Device& device, CommandList list, GraphNotes& notes);
CommandList reorder(CommandList list, GraphNotes& notes);
// Places barriers anew: exactly where the tracker needs them, whatever was forced while recording.
void place_barriers(CommandList& list);

}  // namespace decant

#endif  // DECANT_CORE_GRAPH_H_
