#include "decant/core/command_list.h"

#include <algorithm>
#include <cstring>

#include "decant/core/error.h"

namespace decant {

uint32_t CommandList::append_bytes(const void* data, uint32_t len) {
  const size_t offset = (bytes.size() + 15) / 16 * 16;
  require(offset + len <= UINT32_MAX, "CommandList: Bytes arguments exceed 4 GiB");
  bytes.resize(offset + len);
  std::memcpy(bytes.data() + offset, data, len);
  return static_cast<uint32_t>(offset);
}

void CommandList::append(const CommandList& from, const Dispatch& dispatch) {
  Dispatch copy = dispatch;
  copy.first_arg = static_cast<uint32_t>(args.size());
  for (const RecordedArg& arg : from.args_of(dispatch)) {
    args.push_back(arg);
    if (arg.is_bytes())
      args.back().bytes_offset = append_bytes(from.bytes.data() + arg.bytes_offset, arg.bytes_len);
  }
  dispatches.push_back(copy);
}

size_t CommandList::barriers() const {
  return static_cast<size_t>(std::count_if(dispatches.begin(), dispatches.end(),
                                           [](const Dispatch& d) { return d.barrier_before; }));
}

void CommandList::clear() {
  dispatches.clear();
  args.clear();
  bytes.clear();
}

bool conflicts(const RecordedArg& a, const RecordedArg& b) {
  return (a.writes() || b.writes()) && a.buffer.overlaps(b.buffer);
}

bool conflicts(std::span<const RecordedArg> a, std::span<const RecordedArg> b) {
  return std::any_of(a.begin(), a.end(), [&](const RecordedArg& x) {
    return std::any_of(b.begin(), b.end(), [&](const RecordedArg& y) { return conflicts(x, y); });
  });
}

bool RangeTracker::touch(std::span<const RecordedArg> args) {
  bool barrier = false;
  for (const RecordedArg& arg : args) {
    if (arg.is_bytes()) continue;
    const Storage* storage = arg.buffer.storage().get();
    const size_t begin = arg.buffer.byte_offset(), end = begin + arg.buffer.byte_len();
    if (begin == end) continue;
    for (const Range& r : ranges_)
      barrier |=
          r.storage == storage && (r.written || arg.writes()) && r.begin < end && begin < r.end;
    if (barrier) break;
  }
  if (barrier) ranges_.clear();
  for (const RecordedArg& arg : args) {
    if (arg.is_bytes() || arg.buffer.byte_len() == 0) continue;
    const size_t begin = arg.buffer.byte_offset();
    ranges_.push_back(
        {arg.buffer.storage().get(), begin, begin + arg.buffer.byte_len(), arg.writes()});
  }
  return barrier;
}

void RangeTracker::reset() { ranges_.clear(); }

}  // namespace decant
