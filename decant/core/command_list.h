// What an encoder records: dispatches with their arguments, in order, and where barriers stand.
// Backends execute it, the graph optimiser rewrites it.
#ifndef DECANT_CORE_COMMAND_LIST_H_
#define DECANT_CORE_COMMAND_LIST_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "decant/core/buffer.h"
#include "decant/core/kernel_registry.h"

namespace decant {

// kWrite promises that every byte of the range is written; a part of it is kReadWrite.
enum class Access : uint8_t { kRead, kWrite, kReadWrite };

// A Buffer, or Bytes copied into the command list (buffer is empty then).
struct RecordedArg {
  Buffer buffer;
  Access access = Access::kRead;
  bool either = false;  // may have the other form in another dispatch
  uint32_t bytes_offset = 0;
  uint32_t bytes_len = 0;

  bool is_bytes() const { return !buffer; }
  bool reads() const { return access != Access::kWrite; }
  bool writes() const { return access != Access::kRead; }
};

struct Launch {
  Dim3 grid{};   // groups
  Dim3 group{};  // threads of a group (GPU backends; the CPU calls a function per group)
  uint32_t shared_bytes = 0;  // scratch per group

  // --- CUDA alone; other backends ignore them.
  Dim3 cluster{};            // groups that run together and share their scratch
  bool cooperative = false;  // all groups are resident at once, or the launch fails
  // The kernel may start while the dispatch before it still runs. All its threads must execute
  // griddepcontrol.wait before they touch anything that an earlier dispatch writes or reads, and
  // before they end.
  bool programmatic = false;
};

struct Dispatch {
  Kernel kernel = nullptr;
  OpKind kind = OpKind::kOther;
  bool barrier_before = false;
  Launch launch;
  uint32_t first_arg = 0;
  uint32_t num_args = 0;
};

struct CommandList {
  std::vector<Dispatch> dispatches;
  std::vector<RecordedArg> args;
  std::vector<std::byte> bytes;  // payload of the Bytes arguments, each 16-byte aligned

  std::span<const RecordedArg> args_of(const Dispatch& dispatch) const {
    return {args.data() + dispatch.first_arg, dispatch.num_args};
  }
  // Appends a copy of a dispatch of another list.
  void append(const CommandList& from, const Dispatch& dispatch);
  // Copies `len` bytes to the payload and returns their offset.
  uint32_t append_bytes(const void* data, uint32_t len);
  size_t barriers() const;
  void clear();  // keeps the capacity
};

// A dispatch with its list, for fusion rules.
class DispatchView {
 public:
  DispatchView(const CommandList& list, const Dispatch& dispatch)
      : list_(&list), dispatch_(&dispatch) {}
  const Dispatch& operator*() const { return *dispatch_; }
  const Dispatch* operator->() const { return dispatch_; }
  std::span<const RecordedArg> args() const { return list_->args_of(*dispatch_); }
  const Buffer& buffer(size_t index) const { return args()[index].buffer; }
  // Bytes argument `index` as T, or null if it is a Buffer or of another size.
  template <typename T>
  const T* bytes(size_t index) const {
    const RecordedArg& arg = args()[index];
    if (!arg.is_bytes() || arg.bytes_len != sizeof(T)) return nullptr;
    return reinterpret_cast<const T*>(list_->bytes.data() + arg.bytes_offset);
  }

 private:
  const CommandList* list_;
  const Dispatch* dispatch_;
};

// The one hazard rule of the library: two accesses conflict if they touch a common byte and at
// least one writes.
bool conflicts(const RecordedArg& a, const RecordedArg& b);
bool conflicts(std::span<const RecordedArg> a, std::span<const RecordedArg> b);

// Remembers what was touched since the last barrier and says when the next one is due.
class RangeTracker {
 public:
  // Records the arguments of the next dispatch. Returns true if they conflict with an earlier
  // dispatch; a barrier then stands before this dispatch and the earlier ones are forgotten.
  bool touch(std::span<const RecordedArg> args);
  // A barrier was placed for another reason.
  void reset();

 private:
  struct Range {
    const Storage* storage;
    size_t begin, end;
    bool written;
  };
  std::vector<Range> ranges_;
};

}  // namespace decant

#endif  // DECANT_CORE_COMMAND_LIST_H_
