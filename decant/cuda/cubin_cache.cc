#include "decant/cuda/cubin_cache.h"

#include <fmt/core.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace decant::cuda {
namespace {

namespace fs = std::filesystem;

// FNV-1a, 64 bits.
uint64_t hash(std::string_view bytes, uint64_t state = 0xCBF29CE484222325u) {
  for (const char c : bytes) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return state;
}

struct Header {
  char magic[8] = {'d', 'e', 'c', 'a', 'n', 't', 'c', 'u'};
  uint64_t version = 1;
  uint64_t key_bytes = 0;
  uint64_t cubin_bytes = 0;
  uint64_t checksum = 0;  // of key and cubin
};

Header header_of(std::string_view key, std::string_view cubin) {
  Header header;
  header.key_bytes = key.size();
  header.cubin_bytes = cubin.size();
  header.checksum = hash(cubin, hash(key));
  return header;
}

}  // namespace

std::string CubinCache::path(std::string_view name, std::string_view key) const {
  // Two streams of 64 bits; the key in the file has the last word.
  return fmt::format("{}/{}-{:016x}{:016x}.bin", folder_, name, hash(key), hash(key, ~hash(key)));
}

std::optional<std::vector<char>> CubinCache::find(std::string_view name,
                                                  std::string_view key) const {
  if (folder_.empty()) return std::nullopt;
  std::ifstream file(path(name, key), std::ios::binary | std::ios::ate);
  if (!file) return std::nullopt;
  const std::streamoff size = file.tellg();
  file.seekg(0);
  Header header;
  const Header expected = header_of(key, {});
  if (size < static_cast<std::streamoff>(sizeof header + key.size()) ||
      !file.read(reinterpret_cast<char*>(&header), sizeof header) ||
      std::memcmp(header.magic, expected.magic, sizeof header.magic) != 0 ||
      header.version != expected.version || header.key_bytes != key.size() ||
      header.cubin_bytes != static_cast<uint64_t>(size) - sizeof header - key.size())
    return std::nullopt;
  std::string stored(key.size(), '\0');
  std::vector<char> cubin(header.cubin_bytes);
  if (!file.read(stored.data(), static_cast<std::streamsize>(stored.size())) || stored != key ||
      !file.read(cubin.data(), static_cast<std::streamsize>(cubin.size())) ||
      header_of(key, {cubin.data(), cubin.size()}).checksum != header.checksum)
    return std::nullopt;
  return cubin;
}

void CubinCache::store(std::string_view name, std::string_view key,
                       const std::vector<char>& cubin) const {
  if (folder_.empty()) return;
  static std::atomic<uint32_t> counter{0};
  std::error_code failed;
  fs::create_directories(folder_, failed);
  const std::string final_path = path(name, key);
  const std::string temporary =
      fmt::format("{}.{}.{}.tmp", final_path, ::getpid(), counter.fetch_add(1));
  const Header header = header_of(key, {cubin.data(), cubin.size()});
  {
    std::ofstream file(temporary, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&header), sizeof header);
    file.write(key.data(), static_cast<std::streamsize>(key.size()));
    file.write(cubin.data(), static_cast<std::streamsize>(cubin.size()));
    file.close();
    if (!file) failed = std::make_error_code(std::errc::io_error);
  }
  if (!failed) fs::rename(temporary, final_path, failed);
  std::error_code ignored;
  if (failed) fs::remove(temporary, ignored);
}

}  // namespace decant::cuda
