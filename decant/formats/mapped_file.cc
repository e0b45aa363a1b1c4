#include "decant/formats/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include "decant/core/error.h"

namespace decant {
namespace {

[[noreturn]] void fail_errno(const std::string& path, std::string_view action, int error) {
  fail(ErrorKind::kIo, "{}: cannot {}: {}", path, action, std::generic_category().message(error));
}

struct Descriptor {
  explicit Descriptor(int fd) : value(fd) {}
  ~Descriptor() {
    if (value >= 0) ::close(value);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // open() would stop at the first zero byte and open another file.
  if (path.find('\0') != std::string::npos)
    fail(ErrorKind::kIo, "file name of {} bytes: it must not contain a zero byte", path.size());
  // O_NONBLOCK: opening a named pipe must not wait for a writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.value < 0) fail_errno(path, "open", errno);
  struct stat status;
  if (::fstat(file.value, &status) != 0) fail_errno(path, "stat", errno);
  if (S_ISDIR(status.st_mode)) fail_errno(path, "read", EISDIR);
  if (!S_ISREG(status.st_mode)) fail(ErrorKind::kIo, "{}: cannot map: not a regular file", path);
  if (status.st_size < 0 || static_cast<uint64_t>(status.st_size) > SIZE_MAX / 2)
    fail(ErrorKind::kIo, "{}: cannot map: the size {} is not possible", path,
         static_cast<int64_t>(status.st_size));

  const auto size = static_cast<size_t>(status.st_size);
  const std::byte* data = nullptr;
  if (size > 0) {
    void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.value, 0);
    if (mapped == MAP_FAILED) fail_errno(path, "map", errno);
    data = static_cast<const std::byte*>(mapped);
  }
  try {
    return std::shared_ptr<const MappedFile>(new MappedFile(path, data, size));
  } catch (...) {
    if (data) ::munmap(const_cast<std::byte*>(data), size);
    throw;
  }
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::will_need(size_t offset, size_t bytes) const {
  if (offset >= size_) return;
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = offset / page * page;
  const size_t end = offset + std::min(bytes, size_ - offset);
  ::posix_madvise(const_cast<std::byte*>(data_) + begin, end - begin, POSIX_MADV_WILLNEED);
}

void MappedFile::not_needed(size_t offset, size_t bytes) const {
  if (offset >= size_) return;
  // Whole pages; what is touched later comes from the file again. posix_madvise does nothing here.
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t begin = (offset + page - 1) / page * page;
  const size_t end = (offset + std::min(bytes, size_ - offset)) / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);
}

void MappedFile::sequential() const {
  if (data_) ::posix_madvise(const_cast<std::byte*>(data_), size_, POSIX_MADV_SEQUENTIAL);
}

}  // namespace decant
