// A file as read-only memory.
#ifndef DECANT_FORMATS_MAPPED_FILE_H_
#define DECANT_FORMATS_MAPPED_FILE_H_

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace decant {

// Pages are read when they are first touched and may be dropped by the kernel at any time, so a
// mapping costs no memory of its own. The start is aligned to a page. A file that another program
// shortens while it is mapped raises SIGBUS at the missing pages; no reader can turn that into an
// Error.
class MappedFile {
 public:
  // Throws Io naming the path and the reason. An empty file is an empty span, not an error.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  // Hints to the kernel; without effect where it does not take them.
  void will_need(size_t offset, size_t bytes) const;   // start reading this range now
  void sequential() const;                             // the whole file will be read front to back
  void not_needed(size_t offset, size_t bytes) const;  // memory of this range may be given back

 private:
  MappedFile(std::string path, const std::byte* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const std::byte* data_;
  size_t size_;
};

}  // namespace decant

#endif  // DECANT_FORMATS_MAPPED_FILE_H_
