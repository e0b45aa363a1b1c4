// Compiled kernels on disk, one file each, so that only a machine's first run compiles them.
#ifndef DECANT_CUDA_CUBIN_CACHE_H_
#define DECANT_CUDA_CUBIN_CACHE_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace decant::cuda {

// A file holds its whole key (everything that the compiler saw, and its version) before the code,
// and checksums of both, so whatever else lies under its name, truncated or foreign, is no hit.
// Files appear by rename: processes that compile the same kernel at once do not disturb each other.
// No failure of the file system is an error; it only costs time.
class CubinCache {
 public:
  // An empty folder name: no cache.
  explicit CubinCache(std::string folder) : folder_(std::move(folder)) {}

  std::optional<std::vector<char>> find(std::string_view name, std::string_view key) const;
  void store(std::string_view name, std::string_view key, const std::vector<char>& cubin) const;

  // The file of a key: `name` is for people.
  std::string path(std::string_view name, std::string_view key) const;

 private:
  std::string folder_;
};

}  // namespace decant::cuda

#endif  // DECANT_CUDA_CUBIN_CACHE_H_
